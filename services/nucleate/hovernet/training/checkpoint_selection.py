"""Label-free checkpoint selection: of the candidate weights, those most consistent under stain changes and symmetries."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from nucleate.hovernet.inference import sliding_window
from nucleate.hovernet.inference.sliding_window import Tiling
from nucleate.hovernet.networks.hovernet import HoVerNet
from nucleate.hovernet.postprocessing import hv_instances
from nucleate.pathology.images.even_sampling import evenly_spaced
from nucleate.pathology.metrics import dice_aji_pq
from nucleate.pathology.stains import stain_jitter, standardised_input

_WINDOW = 384
_WINDOWS = 6
_PLAIN = Tiling(tile=_WINDOW, overlap=0, views=(0,))
_TURNED = Tiling(tile=_WINDOW, overlap=0, views=(6,))
# Stain strengths and offsets (haematoxylin, eosin, residual) of the perturbed window.
_STRENGTH = np.array([1.15, 0.88, 1.0])
_OFFSET = np.array([0.02, -0.02, 0.0])


@dataclasses.dataclass(frozen=True)
class SelectedCheckpoint:
    """The selected network, the step it is from and its agreement (PQ in 0..1)."""

    net: HoVerNet
    step: int
    agreement: float


def select_checkpoint(
    net: HoVerNet, candidates: Mapping[int, Mapping[str, Tensor]], images: Sequence[NDArray[np.uint8]]
) -> SelectedCheckpoint:
    """The candidate of the largest `agreement`; the later one when equal."""
    choices = []
    for step, weights in sorted(candidates.items()):
        candidate = copy.deepcopy(net)
        candidate.load_state_dict(weights)
        choices.append(SelectedCheckpoint(candidate, step, agreement(candidate, images)))
    return max(choices, key=lambda choice: (choice.agreement, choice.step))


def agreement(net: HoVerNet, images: Sequence[NDArray[np.uint8]]) -> float:
    """Mean PQ between the instances of a window and those of the same window turned and with perturbed stains, 0..1.

    Taken over the central window of up to six images, spread over the list. A window without any nucleus counts 0, so that a
    network which finds nothing is never selected.
    """
    return float(
        np.mean([_window_agreement(net, _central_window(images[index])) for index in evenly_spaced(len(images), _WINDOWS)])
    )


def _window_agreement(net: HoVerNet, window_HW3: NDArray[np.uint8]) -> float:
    perturbed_HW3 = stain_jitter.perturb_stains(window_HW3, _STRENGTH, _OFFSET)
    first = sliding_window.predict(net, standardised_input.planes(window_HW3), _PLAIN)
    second = sliding_window.predict(net, standardised_input.planes(perturbed_HW3), _TURNED)
    score = dice_aji_pq.score(*(hv_instances.instances(each.nuclear, each.hv) for each in (first, second)))
    return 0.0 if score.both_empty else score.pq


def _central_window(image_HW3: NDArray[np.uint8]) -> NDArray[np.uint8]:
    y, x = (max(0, (side - _WINDOW) // 2) for side in image_HW3.shape[:2])
    return image_HW3[y : y + _WINDOW, x : x + _WINDOW]

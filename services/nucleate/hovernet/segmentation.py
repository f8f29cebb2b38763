"""From an image to its nuclei, by a trained network or by the training-free baseline."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from nucleate.errors import InvalidImage
from nucleate.hovernet import inference, postprocess, pseudo
from nucleate.hovernet.inference import SMALLEST_SIDE, Network
from nucleate.hovernet.profiles import Profile
from nucleate.pathology import classical, redrawing


@dataclasses.dataclass(frozen=True)
class Trained:
    """A network and the profile it is used by."""

    net: Network
    profile: Profile


@dataclasses.dataclass(frozen=True)
class Classical:
    """The training-free baseline."""


@dataclasses.dataclass(frozen=True)
class Segmented:
    """Instance map HW int32 and, where asked for, the pixels the segmenter is unsure of, HW bool."""

    instances: NDArray[np.int32]
    ignore: NDArray[np.bool_] | None

    @property
    def count(self) -> int:
        """Nuclei found; labels are contiguous."""
        return int(self.instances.max())


def segment(segmenter: Trained | Classical, image_HW3: NDArray[np.uint8], name: str, *, ignore: bool) -> Segmented:
    """The nuclei of an RGB image; with `ignore` as labels to train on, which the baseline gives drawn anew.

    Raises:
        InvalidImage: a side is under 32 px; the message names the image.
    """
    height, width = image_HW3.shape[:2]
    if min(height, width) < SMALLEST_SIDE:
        raise InvalidImage(f"{name} is {width} x {height} px: give at least {SMALLEST_SIDE} x {SMALLEST_SIDE}")
    if isinstance(segmenter, Classical):
        return Segmented(*redrawing.pseudo_labels(image_HW3)) if ignore else Segmented(classical.segment(image_HW3), None)
    prediction = inference.predict(segmenter.net, image_HW3, segmenter.profile.tiling)
    if ignore:
        return Segmented(*pseudo.labels(prediction, segmenter.profile.post))
    return Segmented(postprocess.instances(prediction.nuclear, prediction.hv, segmenter.profile.post), None)

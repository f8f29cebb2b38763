"""Uncertainty sampling: label-free scores and features of windows of un-annotated images, for choosing what to annotate.

The score is the mean predictive entropy of the nuclear probability along predicted boundaries (where segmentation is decided;
inside flat background entropy says little). The features, mean colour and mean encoder response, let the caller spread its
choice over unlike tissue.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from nucleate import errors
from nucleate.hovernet.inference import sliding_window
from nucleate.hovernet.inference.sliding_window import Tiling
from nucleate.hovernet.networks.hovernet import HoVerNet
from nucleate.hovernet.postprocessing import hv_instances
from nucleate.hovernet.postprocessing.hv_instances import PostProcessing
from nucleate.pathology.instances.instance_map import boundary_band
from nucleate.pathology.metrics.detection import centroids
from nucleate.pathology.stains import standardised_input

MIN_WINDOW = 32
_BAND = 2


@dataclasses.dataclass(frozen=True)
class WindowScore:
    """A square window, its boundary entropy in nats (0..ln 2), its nuclei and its features."""

    x: int
    y: int
    width: int
    height: int
    uncertainty: float
    nuclei: int
    features: tuple[float, ...]


def score_windows(  # noqa: PLR0917 - the request's fields and the profile's
    net: HoVerNet,
    image_HW3: NDArray[np.uint8],
    size: int,
    stride: int,
    tiling: Tiling,
    post: PostProcessing,
    on_tile: Callable[[], None] = lambda: None,
) -> list[WindowScore]:
    """Scores of the windows of side `size` px every `stride` px, the last ones ending at the border.

    A window is cut to the image where that is smaller. A nucleus counts for the window its centre is in.

    Raises:
        errors.InvalidInput: size under 32 px or stride 0.
    """
    if size < MIN_WINDOW or stride < 1:
        raise errors.InvalidInput(
            f"window size {size} and stride {stride}: give a size of at least {MIN_WINDOW} and a stride of at least 1"
        )
    planes_HW4 = standardised_input.planes(image_HW3)
    prediction = sliding_window.predict(net, planes_HW4, tiling, on_tile)
    instances = hv_instances.instances(prediction.nuclear, prediction.hv, post)
    entropy = _entropy(prediction.nuclear)
    band = boundary_band(instances, _BAND)
    centres = centroids(instances)[:, ::-1]
    encoded = _encoder_features(net, planes_HW4)
    scores = []
    for y, x in _corners(image_HW3.shape[:2], size, stride):
        box = np.s_[y : y + size, x : x + size]
        height, width = band[box].shape
        inside = ((centres >= (y, x)) & (centres < (y + height, x + width))).all(axis=1)
        uncertainty = float(entropy[box][band[box]].mean()) if band[box].any() else 0.0
        features = (*(image_HW3[box].mean(axis=(0, 1)) / 255.0), *encoded[box].mean(axis=(0, 1)))
        scores.append(WindowScore(x, y, width, height, uncertainty, int(inside.sum()), tuple(float(f) for f in features)))
    return scores


def _entropy(probability_HW: NDArray[np.float32]) -> NDArray[np.float32]:
    """Binary entropy in nats."""
    p = np.clip(probability_HW, 1e-6, 1.0 - 1e-6)
    return np.asarray(-(p * np.log(p) + (1.0 - p) * np.log1p(-p)), np.float32)


def _encoder_features(net: HoVerNet, planes_HW4: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Eight summaries of the deepest encoder features (means of eight equal groups of channels), HW8."""
    features = sliding_window.encode(net, planes_HW4)
    groups = np.stack([part.mean(axis=0) for part in np.array_split(features, 8)], axis=-1)
    return np.asarray(cv2.resize(groups, planes_HW4.shape[1::-1], interpolation=cv2.INTER_NEAREST))


def _corners(shape: tuple[int, ...], size: int, stride: int) -> Iterator[tuple[int, int]]:
    """Top-left corners (y, x) of the windows."""
    rows, columns = (sorted({*range(0, max(side - size, 0) + 1, stride), max(side - size, 0)}) for side in shape)
    return ((y, x) for y in rows for x in columns)

"""Scores of predicted against true instance maps, by image."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from nucleate.errors import SizeMismatch
from nucleate.pathology import metrics
from nucleate.pathology.metrics import Scores


@dataclasses.dataclass(frozen=True)
class ImageScores:
    """Scores of one image and the numbers of nuclei in both maps."""

    id: str
    scores: Scores
    predicted: int
    true: int


def score(name: str, true_HW: NDArray[np.integer], predicted_HW: NDArray[np.integer]) -> ImageScores:
    """All scores of one image.

    Raises:
        SizeMismatch: the maps differ in size; the message names the image.
    """
    if true_HW.shape != predicted_HW.shape:
        sizes = [f"{array.shape[1]} x {array.shape[0]} px" for array in (predicted_HW, true_HW)]
        raise SizeMismatch(
            f"image '{name}': the predicted map is {sizes[0]} and the true map {sizes[1]}; compare maps of one image"
        )
    return ImageScores(name, metrics.score(true_HW, predicted_HW), _count(predicted_HW), _count(true_HW))


def _count(instances_HW: NDArray[np.integer]) -> int:
    return int(np.unique(instances_HW[instances_HW > 0]).size)

"""Which nuclei are clicked and which windows corrected: drawn at random, the same for the same seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from nucleate.annotator.robot.oracle import MIN_FRAGMENT_AREA, InstanceMap

MIN_AREA = 16  # px: smaller nuclei are specks of the annotation, and no IoU of theirs says anything
_MAX_DRAWS = 20
_NUCLEI, _WINDOWS = 0, 1  # streams of the seed


@dataclass(frozen=True)
class Patch:
    """A window of image number `image`, in image pixels."""

    image: int
    x: int
    y: int
    width: int
    height: int

    def crop(self, labels_HW: InstanceMap) -> InstanceMap:
        """The window's part of a map without slivers: labels of under 10 px are background."""
        cropped_HW = labels_HW[self.y : self.y + self.height, self.x : self.x + self.width].copy()
        cropped_HW[np.bincount(cropped_HW.ravel())[cropped_HW] < MIN_FRAGMENT_AREA] = 0
        return cropped_HW


def sample_nuclei(candidates: Sequence[Sequence[int]], wanted: int, seed: int) -> list[list[int]]:
    """Labels to click per image, ascending: as many of each image as of any other, where it has them.

    Args:
        candidates: the labels of every image.
        wanted: how many in all; 0 = all.
        seed: draws the same labels again; a smaller `wanted` draws a subset.
    """
    if not wanted:
        return [sorted(labels) for labels in candidates]
    shares = quotas([len(labels) for labels in candidates], wanted, seed)
    drawn = []
    for image, (labels, share) in enumerate(zip(candidates, shares, strict=True)):
        order = np.random.default_rng([seed, _NUCLEI, image]).permutation(len(labels))
        drawn.append(sorted(labels[i] for i in order[:share]))
    return drawn


def quotas(available: Sequence[int], wanted: int, seed: int) -> list[int]:
    """Split `wanted` evenly over images that have `available` each; what does not divide goes to images drawn at random."""
    shares = [0] * len(available)
    order = np.random.default_rng([seed, _NUCLEI]).permutation(len(available)).tolist()
    left = min(wanted, sum(available))
    while left:
        for image in order:
            if left and shares[image] < available[image]:
                shares[image] += 1
                left -= 1
    return shares


def sample_windows(images: Sequence[int], read: Callable[[int], InstanceMap], size: int, count: int, seed: int) -> list[Patch]:
    """Windows of at most `size` px a side with at least one nucleus: one of every image, in random order, turn by turn.

    Args:
        images: numbers of the images that have nuclei.
        read: gives the instance map of one.
        size: side in px; smaller images are taken whole.
        count: how many; fewer are drawn where images have hardly any nuclei.
        seed: draws the same windows again; a smaller `count` draws the first of them.
    """
    rng = np.random.default_rng([seed, _WINDOWS])
    drawn: list[Patch] = []
    left = list(images)
    while len(drawn) < count and left:
        for image in rng.permutation(left).tolist():
            patch = _window(image, read(image), size, rng)
            if patch:
                drawn.append(patch)
            else:
                left.remove(image)
    return drawn[:count]


def _window(image: int, labels_HW: InstanceMap, size: int, rng: np.random.Generator) -> Patch | None:
    height, width = min(size, labels_HW.shape[0]), min(size, labels_HW.shape[1])
    for _ in range(_MAX_DRAWS):
        x = int(rng.integers(labels_HW.shape[1] - width + 1))
        y = int(rng.integers(labels_HW.shape[0] - height + 1))
        patch = Patch(image, x, y, width, height)
        if patch.crop(labels_HW).any():
            return patch
    return None

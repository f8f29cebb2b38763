"""What the robot works out from the sealed map: which proposal is which nucleus, and where the next click goes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nucleate.pathology.instances.click_placement import next_click

Mask = NDArray[np.bool_]
InstanceMap = NDArray[np.int32]

MIN_FRAGMENT_AREA = 10  # px: what is left of a nucleus at the window's edge below this is not annotated


@dataclass(frozen=True)
class Match:
    """A nucleus and the object that covers it best."""

    nucleus: int
    object_id: int
    iou: float


def nucleus_labels(oracle_HW: InstanceMap) -> list[int]:
    """Labels of at least MIN_FRAGMENT_AREA pixels in this window, top to bottom."""
    labels, first, counts = np.unique(oracle_HW, return_index=True, return_counts=True)
    order = np.argsort(first)
    return [int(labels[i]) for i in order if labels[i] and counts[i] >= MIN_FRAGMENT_AREA]


def match_instances(oracle_HW: InstanceMap, objects_HW: InstanceMap) -> list[Match]:
    """Pairs of nuclei and objects that overlap, one to one, best IoU first."""
    size = int(objects_HW.max()) + 1
    pairs, overlap = np.unique(oracle_HW.astype(np.int64) * size + objects_HW, return_counts=True)
    areas_true, areas_found = np.bincount(oracle_HW.ravel()), np.bincount(objects_HW.ravel())
    candidates = []
    for pair, count in zip(pairs.tolist(), overlap.tolist(), strict=True):
        nucleus, object_id = divmod(pair, size)
        if nucleus and object_id:
            union = int(areas_true[nucleus]) + int(areas_found[object_id]) - count
            candidates.append(Match(nucleus, object_id, count / union))
    chosen: list[Match] = []
    nuclei, objects = set[int](), set[int]()
    for found in sorted(candidates, key=lambda m: (-m.iou, m.nucleus, m.object_id)):
        if found.nucleus not in nuclei and found.object_id not in objects:
            chosen.append(found)
            nuclei.add(found.nucleus)
            objects.add(found.object_id)
    return chosen


def mean_iou(oracle_HW: InstanceMap, objects_HW: InstanceMap) -> float:
    """Mean IoU of the objects with their nuclei, matched one to one; 0 for an object on no nucleus, and without objects."""
    count = len(np.setdiff1d(objects_HW, [0]))
    return sum(found.iou for found in match_instances(oracle_HW, objects_HW)) / count if count else 0.0


def error_region(nucleus_HW: Mask, mask_HW: Mask, free_HW: Mask, *, positive: bool) -> Mask:
    """Pixels that a click of that sign could put right: missed ones, or ones the mask wrongly holds."""
    return nucleus_HW & ~mask_HW & free_HW if positive else mask_HW & ~nucleus_HW


def next_free_click(
    nucleus_HW: Mask, mask_HW: Mask, free_HW: Mask, clicked: set[tuple[int, int]]
) -> tuple[int, int, bool] | None:
    """x, y and sign of the next click by the standard rule (`next_click`), positive ones on free pixels; None without an error.

    Args:
        nucleus_HW: what the mask should be.
        mask_HW: the mask so far.
        free_HW: pixels that no other finished object holds; a positive click anywhere else would be refused.
        clicked: (x, y) of this object's clicks.
    """
    missed_HW = error_region(nucleus_HW, mask_HW, free_HW, positive=True)
    wrong_HW = error_region(nucleus_HW, mask_HW, free_HW, positive=False)
    return next_click(missed_HW, wrong_HW, clicked)

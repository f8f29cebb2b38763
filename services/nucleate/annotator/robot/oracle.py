"""What the robot works out from the sealed map: which proposal is which nucleus, and where the next click goes."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from nucleate.pathology.instances.distance_transform import squared_distance_transform

Mask = NDArray[np.bool_]
Map = NDArray[np.int32]

SLIVER = 10  # px: what is left of a nucleus at the window's edge below this is not annotated


@dataclass(frozen=True)
class Match:
    """A nucleus and the object that covers it best."""

    nucleus: int
    object_id: int
    iou: float


def nuclei_of(oracle_HW: Map) -> list[int]:
    """Labels of at least SLIVER pixels in this window, top to bottom."""
    labels, first, counts = np.unique(oracle_HW, return_index=True, return_counts=True)
    order = np.argsort(first)
    return [int(labels[i]) for i in order if labels[i] and counts[i] >= SLIVER]


def match(oracle_HW: Map, objects_HW: Map) -> list[Match]:
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


def mean_iou(oracle_HW: Map, objects_HW: Map) -> float:
    """Mean IoU of the objects with their nuclei, matched one to one; 0 for an object on no nucleus, and without objects."""
    count = len(np.setdiff1d(objects_HW, [0]))
    return sum(found.iou for found in match(oracle_HW, objects_HW)) / count if count else 0.0


def iou(a_HW: Mask, b_HW: Mask) -> float:
    """Intersection over union; 0 when both are empty."""
    union = int(np.count_nonzero(a_HW | b_HW))
    return int(np.count_nonzero(a_HW & b_HW)) / union if union else 0.0


def error_region(nucleus_HW: Mask, mask_HW: Mask, free_HW: Mask, *, positive: bool) -> Mask:
    """Pixels that a click of that sign could put right: missed ones, or ones the mask wrongly holds."""
    return nucleus_HW & ~mask_HW & free_HW if positive else mask_HW & ~nucleus_HW


def next_click(nucleus_HW: Mask, mask_HW: Mask, free_HW: Mask, clicked: set[tuple[int, int]]) -> tuple[int, int, bool] | None:
    """x, y and sign of the next click: the deepest point of the larger error region; None when there is none to click.

    The standard rule of interactive segmentation: a region is as large as its deepest point is far from its edge (Euclidean,
    the frame counts as edge), clicked pixels are left out, the first of equally deep pixels in row-major order is taken, and of
    equally large regions the wrongly held one (Sofiiuk et al. 2020, section 4, and its published evaluation).

    Args:
        nucleus_HW: what the mask should be.
        mask_HW: the mask so far.
        free_HW: pixels that no other finished object holds; a positive click anywhere else would be refused.
        clicked: (x, y) of this object's clicks.
    """
    missed = _deepest(error_region(nucleus_HW, mask_HW, free_HW, positive=True), clicked)
    wrong = _deepest(error_region(nucleus_HW, mask_HW, free_HW, positive=False), clicked)
    depth, x, y = max(wrong, missed, key=lambda found: found[0])
    return (x, y, missed[0] > wrong[0]) if depth > 0 else None


def _deepest(region_HW: Mask, clicked: set[tuple[int, int]]) -> tuple[float, int, int]:
    """Distance to the region's edge, x and y of its deepest pixel that has not been clicked; 0 where there is none."""
    left, top, width, height = cv2.boundingRect(region_HW.view(np.uint8))
    if not width:
        return 0.0, 0, 0
    inside = squared_distance_transform(region_HW[top : top + height, left : left + width])
    for x, y in clicked:
        if left <= x < left + width and top <= y < top + height:
            inside[y - top, x - left] = 0
    y, x = divmod(int(inside.argmax()), width)
    return float(np.sqrt(inside[y, x])), x + left, y + top

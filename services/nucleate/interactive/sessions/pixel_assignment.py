"""Neighbours predicted at once: each pixel that several of their masks hold is assigned to one."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from nucleate.interactive.clicks import Click
from nucleate.interactive.cropping import crop
from nucleate.interactive.object_mask import ObjectMask
from nucleate.interactive.prediction.result import Prediction

_OUTSIDE_PROBABILITY = 0.5  # of a pixel of the mask outside its frame
_CLICKED_SCORE = 2.0  # above any probability: a clicked pixel belongs to its own click


def assign_pixels(points: Sequence[Click], predictions: Sequence[Prediction]) -> list[ObjectMask]:
    """The masks without overlaps, each the 4-connected component that holds its click; empty where that pixel is not assigned.

    A contested pixel goes to the mask with the higher probability there, or else to the first.
    """
    masks = [prediction.mask for prediction in predictions]
    if not masks:
        return []
    left, top = min(mask.x for mask in masks), min(mask.y for mask in masks)
    right = max(mask.x + mask.bits.shape[1] for mask in masks)
    bottom = max(mask.y + mask.bits.shape[0] for mask in masks)
    best_HW = np.zeros((bottom - top, right - left), np.float32)
    owner_HW = np.full(best_HW.shape, -1, np.int32)
    parts = [_box_slices(mask, left, top) for mask in masks]
    for n, (click, prediction, part) in enumerate(zip(points, predictions, parts, strict=True)):
        claim_HW = np.where(prediction.mask.bits, _probability(click, prediction), 0)
        wins_HW = claim_HW > best_HW[part]
        best_HW[part][wins_HW], owner_HW[part][wins_HW] = claim_HW[wins_HW], n
    return [
        _clicked_component(owner_HW[part] == n, mask, points[n])
        for n, (mask, part) in enumerate(zip(masks, parts, strict=True))
    ]


def _box_slices(mask: ObjectMask, left: int, top: int) -> tuple[slice, slice]:
    height, width = mask.bits.shape
    return slice(mask.y - top, mask.y - top + height), slice(mask.x - left, mask.x - left + width)


def _probability(click: Click, prediction: Prediction) -> NDArray[np.float32]:
    """Nucleus probability in the mask's box."""
    mask, (frame, frame_HW) = prediction.mask, prediction.probability
    height, width = mask.bits.shape
    found_HW = crop(frame_HW, mask.x, mask.y, width, height, padding=_OUTSIDE_PROBABILITY, origin=(frame.x, frame.y))
    found_HW = np.maximum(found_HW, np.finfo(np.float32).tiny)  # a filled hole has a claim, the least there is
    if mask.contains(click.x, click.y):
        found_HW[click.y - mask.y, click.x - mask.x] = _CLICKED_SCORE
    return found_HW


def _clicked_component(own_HW: NDArray[np.bool_], mask: ObjectMask, click: Click) -> ObjectMask:
    if not mask.contains(click.x, click.y):
        return ObjectMask.empty()
    _, labels_HW = cv2.connectedComponents(own_HW.astype(np.uint8), connectivity=4)
    return ObjectMask.from_array(labels_HW == labels_HW[click.y - mask.y, click.x - mask.x], mask.x, mask.y)

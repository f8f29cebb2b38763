"""Neighbours predicted at once: who gets the pixels that several of their masks claim."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from nucleate.interactive.clicks import Click
from nucleate.interactive.object_mask import ObjectMask
from nucleate.interactive.prediction.predictor import Prediction

_UNSEEN = 0.5  # probability of a pixel of the mask that its frame did not show
_CLICKED = 2.0  # a clicked pixel belongs to its own click


def share_out(points: Sequence[Click], predictions: Sequence[Prediction]) -> list[ObjectMask]:
    """The masks without overlaps, each the 4-connected piece that holds its click; empty where that pixel went to nobody.

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
    parts = [_part(mask, left, top) for mask in masks]
    for n, (click, prediction, part) in enumerate(zip(points, predictions, parts, strict=True)):
        claim_HW = np.where(prediction.mask.bits, _probability(click, prediction), 0)
        wins_HW = claim_HW > best_HW[part]
        best_HW[part][wins_HW], owner_HW[part][wins_HW] = claim_HW[wins_HW], n
    return [_piece(owner_HW[part] == n, mask, points[n]) for n, (mask, part) in enumerate(zip(masks, parts, strict=True))]


def _part(mask: ObjectMask, left: int, top: int) -> tuple[slice, slice]:
    height, width = mask.bits.shape
    return slice(mask.y - top, mask.y - top + height), slice(mask.x - left, mask.x - left + width)


def _probability(click: Click, prediction: Prediction) -> NDArray[np.float32]:
    """Nucleus probability in the mask's box."""
    mask, (frame, seen_HW) = prediction.mask, prediction.probability
    height, width = mask.bits.shape
    found_HW = np.full((height, width), _UNSEEN, np.float32)
    rows = slice(max(mask.y, frame.y), min(mask.y + height, frame.y + frame.size))
    columns = slice(max(mask.x, frame.x), min(mask.x + width, frame.x + frame.size))
    found_HW[rows.start - mask.y : rows.stop - mask.y, columns.start - mask.x : columns.stop - mask.x] = seen_HW[
        rows.start - frame.y : rows.stop - frame.y, columns.start - frame.x : columns.stop - frame.x
    ]
    found_HW = np.maximum(found_HW, np.finfo(np.float32).tiny)  # a filled hole is claimed, if hardly
    if mask.holds(click.x, click.y):
        found_HW[click.y - mask.y, click.x - mask.x] = _CLICKED
    return found_HW


def _piece(own_HW: NDArray[np.bool_], mask: ObjectMask, click: Click) -> ObjectMask:
    if not mask.holds(click.x, click.y):
        return ObjectMask.empty()
    _, labels_HW = cv2.connectedComponents(own_HW.astype(np.uint8), connectivity=4)
    return ObjectMask.cut(labels_HW == labels_HW[click.y - mask.y, click.x - mask.x], mask.x, mask.y)

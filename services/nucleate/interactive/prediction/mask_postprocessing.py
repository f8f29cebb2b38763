"""From probabilities to the mask of one nucleus that obeys every click."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from nucleate.interactive.clicks import DISK_RADIUS, Click, Mask

THRESHOLD = 0.5


def _enforce_clicks(mask_HW: Mask, clicks: Sequence[Click]) -> None:
    """Set a disk of 3 px round each disobeyed click, except pixels that are nearer to a click of the other sign."""
    height, width = mask_HW.shape
    inside = [c for c in clicks if 0 <= c.y < height and 0 <= c.x < width]
    for click in [c for c in inside if mask_HW[c.y, c.x] != c.positive]:
        rows = np.arange(max(click.y - DISK_RADIUS, 0), min(click.y + DISK_RADIUS + 1, height))[:, None]
        columns = np.arange(max(click.x - DISK_RADIUS, 0), min(click.x + DISK_RADIUS + 1, width))[None, :]
        own = (rows - click.y) ** 2 + (columns - click.x) ** 2
        near = own <= DISK_RADIUS**2
        for other in inside:
            if other.positive != click.positive:
                near &= own < (rows - other.y) ** 2 + (columns - other.x) ** 2
        mask_HW[rows, columns] = np.where(near, click.positive, mask_HW[rows, columns])


def _components(mask_HW: Mask) -> NDArray[np.int32]:
    """4-connected components."""
    _, labels_HW = cv2.connectedComponents(mask_HW.astype(np.uint8), connectivity=4)
    return np.asarray(labels_HW, np.int32)


def _keep_clicked_components(mask_HW: Mask, clicks: Sequence[Click], previous_HW: Mask) -> Mask:
    """The components that hold a positive click; without one (a proposal only cut so far), the largest that overlap it."""
    labels_HW = _components(mask_HW)
    height, width = mask_HW.shape
    kept = {int(labels_HW[c.y, c.x]) for c in clicks if c.positive and 0 <= c.y < height and 0 <= c.x < width} - {0}
    if not kept:
        overlap = np.bincount(labels_HW[previous_HW & mask_HW], minlength=1)
        kept = {int(overlap.argmax())} if overlap.any() else set()
    return np.isin(labels_HW, list(kept)) & mask_HW


def _fill_holes(mask_HW: Mask, clicks: Sequence[Click], excluded_HW: Mask) -> Mask:
    """Fill enclosed background that holds neither a negative click nor a neighbour's pixel."""
    padded_HW = _components(np.pad(~mask_HW, 1, constant_values=True))
    outside, labels_HW = {int(padded_HW[0, 0])}, padded_HW[1:-1, 1:-1]
    height, width = mask_HW.shape
    negative = {int(labels_HW[c.y, c.x]) for c in clicks if not c.positive and 0 <= c.y < height and 0 <= c.x < width}
    excluded = set(np.unique(labels_HW[excluded_HW]).tolist())
    return mask_HW | ~np.isin(labels_HW, list(outside | negative | excluded))


def _progressive_merge(mask_HW: Mask, previous_HW: Mask, last: Click) -> Mask | None:
    """The previous mask with only that connected change made which holds the last click (Chen et al. 2022, FocalClick).

    A correction at one end of a nucleus then cannot undo what was right at the other. None when there was no mask before, or
    when the last click lies where nothing changed.
    """
    height, width = mask_HW.shape
    changed_HW = mask_HW ^ previous_HW
    inside = 0 <= last.x < width and 0 <= last.y < height
    if not previous_HW.any() or not inside or not changed_HW[last.y, last.x]:
        return None
    labels_HW = _components(changed_HW)
    return np.asarray(previous_HW ^ (labels_HW == labels_HW[last.y, last.x]), bool)


def postprocess_mask(
    probability_HW: NDArray[np.float32],
    clicks: Sequence[Click],
    excluded_HW: Mask,
    previous_HW: Mask,
    *,
    progressive_merge: bool = True,
) -> Mask:
    """Threshold, leave out excluded pixels, enforce disobeyed clicks locally, keep clicked components, fill holes.

    Scale and bias cannot always separate two clicks a few pixels apart; whatever the optimizer leaves disobeyed is set by
    a disk of 3 px, so the result obeys every click in the frame (positive clicks must not lie on excluded pixels).

    Args:
        probability_HW: nucleus probability, 0..1.
        clicks: clicks in this frame's coordinates, oldest first, no two on one pixel.
        excluded_HW: pixels of finished neighbours.
        previous_HW: the object's mask before the last click; obeys every click but the last, holds no excluded pixel.
        progressive_merge: from the second click on, and on a proposal from the first, make only the change connected with the
            last click; off where the probability answers all clicks together.
    """
    mask_HW = (probability_HW > THRESHOLD) & ~excluded_HW
    _enforce_clicks(mask_HW, clicks)
    mask_HW &= ~excluded_HW
    mask_HW = _fill_holes(_keep_clicked_components(mask_HW, clicks, previous_HW), clicks, excluded_HW)
    merged_HW = _progressive_merge(mask_HW, previous_HW, clicks[-1]) if progressive_merge else None
    if merged_HW is None:
        return mask_HW
    return _fill_holes(_keep_clicked_components(merged_HW, clicks, previous_HW), clicks, excluded_HW)

"""Objects to start from, cut out of an instance map: what is free of them, slivers left out."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from nucleate.interactive.clicks import Mask
from nucleate.interactive.object_mask import ObjectMask
from nucleate.interactive.sessions.objects import Box
from nucleate.pathology.instances.instance_map import areas, bounding_boxes, relabel

MIN_FRAGMENT_AREA = 10  # px: a proposal with less than this left is not taken, unless that is all there ever was of it
MAX_OVERLAP = 0.5  # part of a proposal that may lie on objects the session already has


def cut_proposals(
    labels_HW: NDArray[np.int32], window: Box, instances_HW: NDArray[np.int32] | None = None
) -> Iterator[ObjectMask]:
    """Masks of the nuclei of a map of the whole image, cut to the window and to what the map of the window leaves free.

    A nucleus cut by the window's edge stays an object, as its pixels in the accepted map would be wrong background. Of one that
    an existing object cuts in pieces, the largest is kept.
    """
    whole_HW = relabel(labels_HW)
    whole = areas(whole_HW)
    seen_HW = whole_HW[window.y : window.y + window.height, window.x : window.x + window.width]
    for label, box in enumerate(bounding_boxes(seen_HW), 1):
        if box is None:
            continue
        mask_HW = seen_HW[box] == label
        if instances_HW is not None:
            mask_HW = _free_part(mask_HW, instances_HW[box] > 0)
        if np.count_nonzero(mask_HW) >= min(MIN_FRAGMENT_AREA, int(whole[label])):
            yield ObjectMask.from_array(mask_HW, window.x + box[1].start, window.y + box[0].start)


def _free_part(mask_HW: Mask, excluded_HW: Mask) -> Mask:
    """The largest piece of the mask off `excluded_HW`; nothing when most of it is taken."""
    free_HW = mask_HW & ~excluded_HW
    left, area = int(np.count_nonzero(free_HW)), int(np.count_nonzero(mask_HW))
    if left == area:
        return mask_HW
    if area - left > MAX_OVERLAP * area:
        return np.zeros_like(mask_HW)
    pieces_HW, count = ndimage.label(free_HW)
    return free_HW if count < 2 else np.asarray(pieces_HW == 1 + np.bincount(pieces_HW[free_HW])[1:].argmax(), bool)

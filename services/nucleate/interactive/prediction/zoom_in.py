"""Zoom-in frames: the square of the image that the network sees for one click (Zoom-In of f-BRS, Sofiiuk et al. 2020).

f-BRS blows a 200 px crop up to 400 px; a nucleus of 25 px is seen at its native resolution in 96 or 128 px instead, for a tenth
of the work, and the frame grows with the mask up to 256 px.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nucleate.interactive.clicks import Click
from nucleate.interactive.object_mask import ObjectMask

MAX_SIZE = 256
EXPANSION_RATIO = 1.4  # side of the frame over the longer side of the object's box, as in f-BRS
RECOMPUTE_IOU = 0.5  # overlap with the new frame from which the last one is kept, as in f-BRS
BORDER = 4  # px, one feature: an object that comes nearer to the frame's edge may go on beyond it


@dataclass(frozen=True)
class Frame:
    """Square of `size` px with its top-left corner at (x, y); it may reach beyond an image smaller than itself."""

    x: int
    y: int
    size: int

    def pixels(self, image_HWC: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The frame's size x size x C pixels, mirrored beyond the image."""
        rows = _mirror(self.y, self.size, image_HWC.shape[0])
        columns = _mirror(self.x, self.size, image_HWC.shape[1])
        return image_HWC[rows[:, None], columns[None, :]]


def _mirror(start: int, count: int, length: int) -> NDArray[np.intp]:
    """Indices start .. start + count - 1 reflected into 0 .. length - 1."""
    if length == 1:
        return np.zeros(count, np.intp)
    last = length - 1
    return np.asarray(last - np.abs((np.arange(start, start + count) % (2 * last)) - last), np.intp)


def centred_frame(x: float, y: float, size: int, image_height: int, image_width: int) -> Frame:
    """Frame round a point, moved into the image as far as the image is large enough."""

    def start(centre: float, length: int) -> int:
        if length <= size:
            return -((size - length) // 2)
        return int(np.clip(round(centre - size / 2), 0, length - size))

    return Frame(start(x, image_width), start(y, image_height), size)


def _axis_iou(a: Frame, b: Frame) -> float:
    """Intersection over union per axis, multiplied, as f-BRS compares boxes."""
    product = 1.0
    for start_a, start_b in ((a.x, b.x), (a.y, b.y)):
        both = min(start_a + a.size, start_b + b.size) - max(start_a, start_b)
        product *= max(both, 0) / (a.size + b.size - both)
    return product


def frame_for(
    mask: ObjectMask,
    clicks: Sequence[Click],
    smallest: int,
    image_height: int,
    image_width: int,
    *,
    last_frame: Frame | None = None,
) -> Frame:
    """Smallest frame, in steps of 32 px, EXPANSION_RATIO times the box of the mask, its positive clicks and the last click.

    `last_frame`, the last click's frame, stays as long as all of that lies inside it, BORDER px from edges that are not the
    image's, and it overlaps the new frame by half. An object too large for the largest frame is seen round the last click.
    """
    points = [(c.x, c.y) for c in clicks if c.positive] + [(c.x, c.y) for c in clicks[-1:]]
    if mask.area:
        height, width = mask.bits.shape
        points += [(mask.x, mask.y), (mask.x + width - 1, mask.y + height - 1)]
    (left, top), (right, bottom) = np.min(points, 0), np.max(points, 0)
    side = max(right - left, bottom - top) + 1
    if side > MAX_SIZE - 16:
        return centred_frame(clicks[-1].x, clicks[-1].y, MAX_SIZE, image_height, image_width)
    size = min(max(smallest, 32 * int(np.ceil(EXPANSION_RATIO * side / 32))), max(MAX_SIZE, smallest))
    new = centred_frame((left + right + 1) / 2, (top + bottom + 1) / 2, size, image_height, image_width)
    if last_frame is None or _axis_iou(last_frame, new) < RECOMPUTE_IOU:
        return new
    axes = (last_frame.x, left, right, image_width), (last_frame.y, top, bottom, image_height)
    inside = all(_clear_of_border(start, last_frame.size, first, last, length) for start, first, last, length in axes)
    return last_frame if inside else new


def _clear_of_border(start: int, size: int, first: int, last: int, length: int) -> bool:
    """Whether pixels first .. last lie in the frame, off those of its edges beyond which the image goes on."""
    end = start + size
    return (start <= 0 or first >= start + BORDER) and (end >= length or last < end - BORDER)

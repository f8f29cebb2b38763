"""Cropping with padding: a box of the image cut out of an array that covers another part of it."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Value = TypeVar("Value", bound=np.generic)


def crop(
    array_HW: NDArray[Value], x: int, y: int, width: int, height: int, *, padding: object, origin: tuple[int, int] = (0, 0)
) -> NDArray[Value]:
    """The box at (x, y), height x width, as a new array; `padding` is the value of pixels that `array_HW` does not cover.

    `origin`: x and y of the array's top-left pixel, in the coordinates of the box.
    """
    cropped_HW = np.full((height, width), padding, array_HW.dtype)
    left, top = origin
    rows = slice(max(top, y), min(top + array_HW.shape[0], y + height))
    columns = slice(max(left, x), min(left + array_HW.shape[1], x + width))
    if rows.start < rows.stop and columns.start < columns.stop:
        part_HW = array_HW[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
        cropped_HW[rows.start - y : rows.stop - y, columns.start - x : columns.stop - x] = part_HW
    return cropped_HW

"""Which parts of a large image to work on: windows of the training size, each with context around what is taken from it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from nucleate.refiner.singan.pyramid import Size

Box = tuple[slice, slice]


@dataclass(frozen=True)
class Window:
    """`outer` is what the generators see, `core` the part of it that has enough context on all sides that are no border."""

    outer: Box
    core: Box

    @property
    def core_in_outer(self) -> Box:
        """Where the core lies in what the generators give for `outer`."""
        rows, columns = (
            slice(core.start - outer.start, core.stop - outer.start) for core, outer in zip(self.core, self.outer, strict=True)
        )
        return rows, columns

    def holds(self, box: Box) -> bool:
        """Whether all of `box` lies in the core."""
        return all(core.start <= part.start and part.stop <= core.stop for core, part in zip(self.core, box, strict=True))


def feathered_region(region_HW: NDArray[np.bool_], dilation: int, feather: int) -> NDArray[np.float32]:
    """HW float32 on [0, 1]: 1 up to `dilation` pixels (Euclidean) around the region, falling to exactly 0 in `feather` more.

    No pixel farther than dilation + feather from the region is above 0; an empty region gives zeros.
    """
    if not region_HW.any():
        return np.zeros(region_HW.shape, np.float32)
    distance_HW = ndimage.distance_transform_edt(~region_HW)
    weight_HW = np.clip(1.0 - (distance_HW - dilation) / (feather + 1), 0.0, 1.0)
    return np.where(distance_HW <= dilation + feather, weight_HW, 0.0).astype(np.float32)


def windows_around(touched_HW: NDArray[np.bool_], side: int, margin: int) -> list[Window]:
    """Windows of at most side x side pixels whose cores together hold every pixel of `touched_HW`.

    An image that fits is one window. Otherwise each 8-connected part lies in one core where it fits, so that no nucleus is cut;
    larger parts are tiled by cores side by side. A part that an earlier core holds needs no window of its own.
    """
    height, width = touched_HW.shape
    found: list[Window] = []
    parts, _ = ndimage.label(touched_HW, structure=np.ones((3, 3)))
    for box in ndimage.find_objects(parts):
        if any(window.holds(box) for window in found):
            continue
        for rows in _pieces(box[0], height, side, margin):
            for columns in _pieces(box[1], width, side, margin):
                window = _window((rows, columns), (height, width), side, margin)
                if window not in found:
                    found.append(window)
    return found


def _pieces(part: slice, length: int, side: int, margin: int) -> list[slice]:
    """`part` cut evenly into the fewest pieces that fit a core."""
    core = length if length <= side else max(side - 2 * margin, 1)
    count = -(-(part.stop - part.start) // core)
    edges = np.linspace(part.start, part.stop, count + 1).round().astype(int).tolist()
    return [slice(start, stop) for start, stop in pairwise(edges)]


def _window(piece: Box, size: Size, side: int, margin: int) -> Window:
    outer, core = [], []
    for part, length in zip(piece, size, strict=True):
        start = min(max((part.start + part.stop - side) // 2, 0), max(length - side, 0))
        stop = min(start + side, length)
        outer.append(slice(start, stop))
        core.append(slice(start + margin if start > 0 else 0, stop - margin if stop < length else length))
    return Window((outer[0], outer[1]), (core[0], core[1]))

"""Object masks cut to their bounding box, and the run lengths they travel as."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nucleate import errors
from nucleate.interactive.clicks import Mask
from nucleate.interactive.cropping import crop


@dataclass(frozen=True, eq=False)
class ObjectMask:
    """A binary mask inside a box; `x`, `y` place the box in the image. No pixel set: the box is 0 x 0 at (0, 0)."""

    x: int
    y: int
    bits: Mask

    @classmethod
    def empty(cls) -> ObjectMask:
        """The mask without pixels."""
        return cls(0, 0, np.zeros((0, 0), bool))

    @classmethod
    def from_array(cls, mask_HW: Mask, x: int = 0, y: int = 0) -> ObjectMask:
        """The mask of what is set in an array whose top-left pixel lies at (x, y)."""
        rows, columns = np.flatnonzero(mask_HW.any(1)), np.flatnonzero(mask_HW.any(0))
        if not len(rows):
            return cls.empty()
        top, left = int(rows[0]), int(columns[0])
        return cls(x + left, y + top, mask_HW[top : int(rows[-1]) + 1, left : int(columns[-1]) + 1].copy())

    @property
    def area(self) -> int:
        """Pixels set."""
        return int(np.count_nonzero(self.bits))

    def contains(self, x: int, y: int) -> bool:
        """Whether the pixel at column x, row y belongs to the object."""
        height, width = self.bits.shape
        return self.x <= x < self.x + width and self.y <= y < self.y + height and bool(self.bits[y - self.y, x - self.x])

    def crop(self, x: int, y: int, width: int, height: int) -> Mask:
        """The mask in a window of the image: height x width."""
        return crop(self.bits, x, y, width, height, padding=False, origin=(self.x, self.y))

    def with_part(self, x: int, y: int, part_HW: Mask) -> ObjectMask:
        """The mask with `part_HW` in place of a window of the image whose top-left pixel is (x, y)."""
        if not self.area:
            return ObjectMask.from_array(part_HW, x, y)
        (height, width), (part_height, part_width) = self.bits.shape, part_HW.shape
        left, top = min(x, self.x), min(y, self.y)
        right, bottom = max(x + part_width, self.x + width), max(y + part_height, self.y + height)
        whole_HW = self.crop(left, top, right - left, bottom - top)
        whole_HW[y - top : y - top + part_height, x - left : x - left + part_width] = part_HW
        return ObjectMask.from_array(whole_HW, left, top)

    def runs(self) -> list[int]:
        """Row-major run lengths inside the box, starting with background; they sum to the box's area."""
        flat = self.bits.ravel()
        if not flat.size:
            return []
        changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
        lengths = np.diff(np.concatenate([[0], changes, [flat.size]]))
        return ([0] if flat[0] else []) + [int(length) for length in lengths]

    @classmethod
    def from_runs(cls, x: int, y: int, width: int, height: int, runs: list[int]) -> ObjectMask:
        """Read `runs` back.

        Raises:
            errors.InvalidMask: the runs do not add up to the box.
        """
        if any(run < 0 for run in runs) or sum(runs) != width * height:
            raise errors.InvalidMask(f"mask runs add up to {sum(runs)}, but the box is {width} x {height}")
        values = np.arange(len(runs)) % 2 == 1
        flat: NDArray[np.bool_] = np.repeat(values, runs)
        return cls(x, y, flat.reshape(height, width))


def union_box(a: ObjectMask, b: ObjectMask) -> tuple[int, int, int, int]:
    """x, y, width, height of the bounding box of two masks, of which one may be empty."""
    masks = [mask for mask in (a, b) if mask.area]
    left, top = min(mask.x for mask in masks), min(mask.y for mask in masks)
    right = max(mask.x + mask.bits.shape[1] for mask in masks)
    bottom = max(mask.y + mask.bits.shape[0] for mask in masks)
    return left, top, right - left, bottom - top

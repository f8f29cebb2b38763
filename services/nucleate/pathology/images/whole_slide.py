"""Whole-slide images, read by regions in bounded memory.

`x`, `y`, `width` and `height` are px of the slide at full resolution, of which one is `microns` um wide.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tiffslide
from numpy.typing import NDArray

from nucleate.errors import InvalidImage
from nucleate.pathology.stains.tissue import tissue_mask

_BLOCK = 2048  # px of a pyramid level that are held at a time for an overview
_OVERVIEW = 2048  # px of the picture that tissue is looked for in
_MIN_TISSUE = 0.002  # of a window
_METADATA = ("tiffslide.mpp-x", "tiffslide.mpp-y")


@dataclass(frozen=True)
class Window:
    """A rectangle of the slide, and its place in a grid."""

    row: int
    column: int
    x: int
    y: int
    width: int
    height: int


def tissue_windows(slide: Slide, side: int) -> list[Window]:
    """Squares of `side` px that cover the slide, cut at its border, row by row, without those that show no tissue.

    Raises:
        InvalidImage: none shows any.
    """
    tissue = tissue_mask(slide.overview(_OVERVIEW)).astype(np.float32)
    down = max(slide.width, slide.height) / max(tissue.shape)
    found = []
    for row, y in enumerate(range(0, slide.height, side)):
        for column, x in enumerate(range(0, slide.width, side)):
            width, height = min(side, slide.width - x), min(side, slide.height - y)
            part = tissue[int(y / down) : int((y + height) / down) + 1, int(x / down) : int((x + width) / down) + 1]
            if part.size and part.mean() >= _MIN_TISSUE:
                found.append(Window(row, column, x, y, width, height))
    if not found:
        raise InvalidImage(f"{slide.name} has no stained tissue: give an H&E slide")
    return found


class Slide:
    """A slide file; close it after use."""

    def __init__(self, path: Path, name: str) -> None:
        """Open any format of tiffslide's; `name` is for messages.

        Raises:
            InvalidImage: not a slide, damaged, or not RGB.
        """
        self.name = name
        try:
            self._file = tiffslide.TiffSlide(path)
            self.width, self.height = (int(side) for side in self._file.dimensions)
            self.region(0, 0, 1, 1)
        except InvalidImage:
            raise
        except Exception as cause:  # noqa: BLE001 - readers raise their own kinds for damaged data
            raise InvalidImage(
                f"{name} is no slide that can be read ({type(cause).__name__}): give SVS, NDPI, SCN or a tiled TIFF of RGB"
            ) from None

    @property
    def microns(self) -> float | None:
        """Side of a pixel as the file's metadata says, in um; None where they do not."""
        sides = [self._file.properties.get(key) for key in _METADATA]
        if not all(isinstance(side, int | float) and 0.01 <= side <= 100 for side in sides):
            return None
        return float(np.mean(np.asarray(sides, np.float64)))

    def region(self, x: int, y: int, width: int, height: int, scale: float = 1.0) -> NDArray[np.uint8]:
        """A region inside of the slide, resized to round(side * scale), RGB uint8 HW3.

        Raises:
            InvalidImage: the file is damaged there.
        """
        level = self._file.get_best_level_for_downsample(max(1.0, 1 / scale))
        down = float(self._file.level_downsamples[level])
        size = max(1, round(width / down)), max(1, round(height / down))
        pixels = self._read(x, y, level, size)
        wanted = max(1, round(width * scale)), max(1, round(height * scale))
        if size == wanted:
            return pixels
        shrinks = wanted[0] < size[0]
        return np.asarray(cv2.resize(pixels, wanted, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC), np.uint8)

    def overview(self, longest: int) -> NDArray[np.uint8]:
        """The whole slide, its longer side at most `longest` px, RGB uint8 HW3."""
        scale = min(1.0, longest / max(self.width, self.height))
        block = int(_BLOCK * self._downsample(scale))
        shape = max(1, round(self.height * scale)), max(1, round(self.width * scale))
        picture = np.empty((*shape, 3), np.uint8)
        for top in range(0, self.height, block):
            for left in range(0, self.width, block):
                right, bottom = min(left + block, self.width), min(top + block, self.height)
                x0, y0, x1, y1 = (round(edge * scale) for edge in (left, top, right, bottom))
                if x1 > x0 and y1 > y0:
                    part = self.region(left, top, right - left, bottom - top, scale)
                    picture[y0:y1, x0:x1] = cv2.resize(part, (x1 - x0, y1 - y0), interpolation=cv2.INTER_AREA)
        return picture

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _downsample(self, scale: float) -> float:
        return float(self._file.level_downsamples[self._file.get_best_level_for_downsample(max(1.0, 1 / scale))])

    def _read(self, x: int, y: int, level: int, size: tuple[int, int]) -> NDArray[np.uint8]:
        try:
            pixels: Any = self._file.read_region((x, y), level, size, as_array=True)
        except Exception as cause:  # noqa: BLE001 - as above
            raise InvalidImage(f"{self.name} is damaged at {x}, {y} ({type(cause).__name__}): copy the slide again") from None
        if pixels.ndim != 3 or pixels.shape[2] not in (3, 4) or pixels.dtype != np.uint8:
            raise InvalidImage(f"{self.name} has {pixels.dtype} pixels of shape {pixels.shape[2:]}: nucleate needs 8-bit RGB")
        return np.ascontiguousarray(pixels[..., :3])

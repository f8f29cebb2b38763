"""A whole slide in the target's colours: measured once, written tile by tile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

from nucleate.colornorm.methods.registry import Normalizer, measure_slide
from nucleate.colornorm.methods.tissue_weights import TissueSample, sample_tissue
from nucleate.pathology.images.even_sampling import evenly_spaced
from nucleate.pathology.images.whole_slide import Slide, tissue_windows

_TILE = 512  # px
_MEASURED = 32  # tiles
_OVERVIEW = 1024  # px
_QUALITY = 95  # of JPEG


def measure(normalizer: Normalizer, slide: Slide) -> tuple[TissueSample, NDArray[np.float64] | None]:
    """What the slide's glass is like, and the median measurement of up to 32 of its tissue tiles; None where none can be had.

    Raises:
        InvalidImage: the slide has no tissue.
    """
    windows = tissue_windows(slide, _TILE)
    chosen = [windows[number] for number in evenly_spaced(len(windows), _MEASURED)]
    tiles = (slide.region(at.x, at.y, at.width, at.height) for at in chosen)
    return sample_tissue(slide.overview(_OVERVIEW)), measure_slide(normalizer, tiles)


def tiles_of(slide: Slide) -> int:
    """How many tiles `write` makes."""
    return -(-slide.width // _TILE) * -(-slide.height // _TILE)


def write(
    path: Path,
    slide: Slide,
    change: Callable[[NDArray[np.uint8]], NDArray[np.uint8]],
    each_tile: Callable[[int], None] = lambda _done: None,
) -> None:
    """The slide with every tile changed, as a tiled BigTIFF of JPEG tiles; `each_tile` is told how many are done."""

    def tiles() -> Iterator[NDArray[np.uint8]]:
        done = 0
        for y in range(0, slide.height, _TILE):
            for x in range(0, slide.width, _TILE):
                part = slide.region(x, y, min(_TILE, slide.width - x), min(_TILE, slide.height - y))
                changed = change(part)
                pad = ((0, _TILE - part.shape[0]), (0, _TILE - part.shape[1]), (0, 0))
                done += 1
                each_tile(done)
                yield np.pad(changed, pad, mode="edge")

    centimetre = 1e4 / slide.microns if slide.microns else None
    tifffile.imwrite(
        path,
        tiles(),
        shape=(slide.height, slide.width, 3),
        dtype=np.uint8,
        tile=(_TILE, _TILE),
        photometric="rgb",
        bigtiff=True,
        compression="jpeg",
        compressionargs={"level": _QUALITY},
        resolution=(centimetre, centimetre) if centimetre else None,
        resolutionunit="CENTIMETER" if centimetre else None,
    )


def overview(slide: Slide, change: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Before and after side by side, RGB uint8."""
    before = slide.overview(_OVERVIEW)
    return np.hstack([before, np.full((before.shape[0], 8, 3), 255, np.uint8), change(before)])

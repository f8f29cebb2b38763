"""Optical density to optical density by one 3 x 3 matrix, from 8-bit pixels to 8-bit pixels.

A method that works on two stains takes a pixel apart into concentrations, scales them and puts it together again; all of it
is linear in optical density, so the whole image needs one look-up table, one matrix and one exponential. Strips of rows stay in
the processor's cache: a few milliseconds, which threads would not shorten.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

_STRIP = 1 << 16  # px
_LEVELS = np.arange(256, dtype=np.float32)

Strip = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]


def by_strips(rgb_HW3: NDArray[np.uint8], change: Strip) -> NDArray[np.uint8]:
    """`change` applied to strips of rows, each pixel by itself; HW3 uint8."""
    changed = np.empty_like(rgb_HW3)

    def one(rows: slice) -> None:
        changed[rows] = change(rgb_HW3[rows])

    for_strips(rgb_HW3.shape, one)
    return changed


def for_strips(shape: tuple[int, ...], work: Callable[[slice], None]) -> None:
    """Call `work` with the rows of every strip of an image."""
    height, width = shape[:2]
    rows = max(1, _STRIP // width)
    for top in range(0, height, rows):
        work(slice(top, min(top + rows, height)))


def density_table(white: float, offset: float) -> NDArray[np.float32]:
    """Density -ln((v + offset) / white) of every level v, float32 256; a little under 0 above white."""
    return np.asarray(-np.log(np.maximum(_LEVELS + np.float32(offset), 1.0) / np.float32(white)), np.float32)


def apply_density_matrix(
    rgb_HW3: NDArray[np.uint8], matrix_33: NDArray[np.float64], table_256: NDArray[np.float32], white: float
) -> NDArray[np.uint8]:
    """`white` * exp(-matrix @ density) of every pixel, rounded and clipped to 0..255.

    Args:
        rgb_HW3: RGB.
        matrix_33: new density of R, G, B by old one.
        table_256: density of a level.
        white: level without density.
    """
    matrix = matrix_33.astype(np.float32)

    def change(strip_HW3: NDArray[np.uint8]) -> NDArray[np.uint8]:
        density = cv2.transform(cv2.LUT(strip_HW3, table_256), -matrix)
        cv2.exp(density, dst=density)
        return np.asarray(cv2.convertScaleAbs(density, alpha=white), np.uint8)

    return by_strips(rgb_HW3, change)

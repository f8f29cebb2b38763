"""Refining whole images of any size."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from nucleate.refiner.networks import Refiner
from nucleate.refiner.pixels import to_bytes, to_signed

TILE = 1024


@torch.inference_mode()
def refine_image(refiner: Refiner, rgb_HW3: NDArray[np.uint8], tile: int = TILE) -> NDArray[np.uint8]:
    """HW3 uint8 RGB -> the refined image of the same size.

    The image is continued by reflection; tiles are read with R's whole field of view around them and do not overlap where they
    are written, so the result does not depend on `tile` (an even number of pixels), which only bounds the memory.
    """
    height, width = rgb_HW3.shape[:2]
    halo = refiner.halo
    padded_HW3 = np.pad(rgb_HW3, ((halo, halo + height % 2), (halo, halo + width % 2), (0, 0)), mode="symmetric")
    refined_HW3 = np.empty_like(rgb_HW3)
    device = next(refiner.parameters()).device
    for top, left in tile_corners(height, width, tile):
        window = padded_HW3[top : top + tile + 2 * halo, left : left + tile + 2 * halo]
        out_1HW3 = to_bytes(refiner(to_signed(window[None]).to(device))).transpose(0, 2, 3, 1)
        bottom, right = min(top + tile, height), min(left + tile, width)
        refined_HW3[top:bottom, left:right] = out_1HW3[0, halo : halo + bottom - top, halo : halo + right - left]
    return refined_HW3


def tile_corners(height: int, width: int, tile: int) -> Iterator[tuple[int, int]]:
    """Top and left of every tile, row by row."""
    return ((top, left) for top in range(0, height, tile) for left in range(0, width, tile))

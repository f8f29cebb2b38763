"""Procedural H&E-like images: dark ellipses, some touching, on a pinkish, noisy background."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

BACKGROUND, NUCLEUS = (222, 170, 205), (96, 62, 140)


def draw(side: int, count: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Image side x side x 3 and its instance map with up to `count` ellipses."""
    rng = np.random.default_rng(seed)
    image = np.full((side, side, 3), BACKGROUND, np.float32)
    instances = np.zeros((side, side), np.int32)
    label = 0
    for _ in range(4 * count):
        shape = np.zeros((side, side), np.uint8)
        centre, axes = rng.integers(0, side, 2).tolist(), rng.integers(6, 11, 2).tolist()
        cv2.ellipse(shape, centre, axes, int(rng.integers(180)), 0, 360, 1, -1)
        if label < count and not instances[shape > 0].any():
            label += 1
            instances[shape > 0] = label
            image[shape > 0] = NUCLEUS
    image += rng.normal(0, 6, (side, side, 1))
    return np.clip(cv2.GaussianBlur(image, (3, 3), 0), 0, 255).astype(np.uint8), instances

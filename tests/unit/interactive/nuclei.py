"""Procedural H&E-like images: dark ellipses on a pinkish, noisy background."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

BACKGROUND, NUCLEUS = (222, 180, 208), (96, 62, 140)


def draw_nuclei(size: int, count: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Image (size, size, 3) and its instance map with up to `count` ellipses that do not touch."""
    rng = np.random.default_rng(seed)
    image = np.full((size, size, 3), BACKGROUND, np.float32)
    instances = np.zeros((size, size), np.int32)
    for label in range(1, count + 1):
        for _ in range(50):
            centre = rng.integers(4, size - 4, 2).tolist()
            axes = rng.integers(6, 11, 2).tolist()
            shape = np.zeros((size, size), np.uint8)
            cv2.ellipse(shape, centre, axes, int(rng.integers(180)), 0, 360, 1, -1)
            if not instances[cv2.dilate(shape, np.ones((5, 5), np.uint8)) > 0].any():
                instances[shape > 0] = label
                image[shape > 0] = NUCLEUS
                break
    image += rng.normal(0, 6, (size, size, 1))
    return np.clip(cv2.GaussianBlur(image, (3, 3), 0), 0, 255).astype(np.uint8), np.unique(instances, return_inverse=True)[
        1
    ].reshape(size, size).astype(np.int32)

"""Random fields that look like tissue: fractal noise and fibres."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray


def fractal(rng: np.random.Generator, size: int, scale: float, octaves: int = 3) -> NDArray[np.float32]:
    """Square float32 noise of mean 0 and standard deviation 1 with blobs of about `scale` px and finer ones in them."""
    total = np.zeros((size, size), dtype=np.float32)
    for octave in range(octaves):
        cells = max(2, round(size / scale * 2**octave)) + 3
        coarse = rng.normal(0.0, 0.5**octave, (cells, cells)).astype(np.float32)
        total += np.asarray(cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC), dtype=np.float32)
    return standardized(total)


def fibres(rng: np.random.Generator, size: int, angle: float, length: float = 60.0, width: float = 3.5) -> NDArray[np.float32]:
    """Square float32 noise, mean 0 and standard deviation 1: wavy strands along `angle` (rad against the x axis)."""
    side = int(np.ceil(1.6 * size)) + 8
    shape = (max(4, round(side / width)), max(4, round(side / length)))
    strands = np.asarray(
        cv2.resize(rng.normal(0.0, 1.0, shape).astype(np.float32), (side, side), interpolation=cv2.INTER_CUBIC)
    )
    middle, half = (side - 1) / 2, (size - 1) / 2
    rows, columns = np.mgrid[0:size, 0:size].astype(np.float32) - half
    wave = 0.12 * size * fractal(rng, size, 0.5 * size, 2)
    across = -np.sin(angle) * columns + np.cos(angle) * rows + 0.5 * wave
    along = np.cos(angle) * columns + np.sin(angle) * rows
    bent = cv2.remap(
        strands.astype(np.float32),
        (along + middle).astype(np.float32),
        (across + middle).astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT,
    )
    return standardized(np.asarray(bent, dtype=np.float32))


def standardized(field: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean 0, standard deviation 1."""
    return np.asarray((field - field.mean()) / max(float(field.std()), 1e-6), dtype=np.float32)


def logistic_step(field: NDArray[np.float32], threshold: float, softness: float) -> NDArray[np.float32]:
    """Logistic step from 0 to 1 where the field passes the threshold."""
    return np.asarray(0.5 + 0.5 * np.tanh((field - threshold) / (2.0 * softness)), dtype=np.float32)

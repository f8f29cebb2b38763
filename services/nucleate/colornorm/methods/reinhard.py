"""Reinhard normalization (Reinhard et al., "Color Transfer between Images", IEEE CG&A 21(5), 2001) for stained slides.

Mean and standard deviation of each 8-bit Lab channel of the tissue are moved to the target's. An 8-bit channel has 256 levels,
so the whole method is one look-up table between two colour conversions.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from nucleate.colornorm.methods.density_matrix import by_strips

MAX_STRETCH = 3.0  # of contrast; more only amplifies noise
FLAT = 0.5  # levels; a channel that varies less is moved and not stretched


@dataclass(frozen=True, eq=False)
class LabStatistics:
    """Mean and standard deviation of the tissue's L, a, b on the 8-bit scale, float64 3."""

    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]

    def to_array(self) -> NDArray[np.float64]:
        """All six numbers in a row."""
        return np.concatenate([self.mean, self.deviation])

    @classmethod
    def from_array(cls, values_6: NDArray[np.float64]) -> LabStatistics:
        """Back from `to_array`."""
        return cls(values_6[:3], values_6[3:])


def measure(sample_K3: NDArray[np.uint8]) -> LabStatistics:
    """Of tissue pixels."""
    mean, deviation = cv2.meanStdDev(cv2.cvtColor(sample_K3[None], cv2.COLOR_RGB2LAB))
    return LabStatistics(np.asarray(mean, np.float64)[:, 0], np.asarray(deviation, np.float64)[:, 0])


def apply(rgb_HW3: NDArray[np.uint8], source: LabStatistics, target: LabStatistics) -> NDArray[np.uint8]:
    """HW3 uint8 RGB, moved as the tissue's statistics move to the target's."""
    table_1K3 = _table(source, target)

    def change(strip_HW3: NDArray[np.uint8]) -> NDArray[np.uint8]:
        moved = cv2.LUT(cv2.cvtColor(strip_HW3, cv2.COLOR_RGB2LAB), table_1K3)
        return np.asarray(cv2.cvtColor(moved, cv2.COLOR_LAB2RGB), np.uint8)

    return by_strips(rgb_HW3, change)


def _table(source: LabStatistics, target: LabStatistics) -> NDArray[np.uint8]:
    flat = (source.deviation < FLAT) | (target.deviation < FLAT)
    ratio = target.deviation / np.maximum(source.deviation, FLAT)
    stretch = np.where(flat, 1.0, np.clip(ratio, 1 / MAX_STRETCH, MAX_STRETCH))
    levels_K3 = (np.arange(256)[:, None] - source.mean) * stretch + target.mean
    return np.clip(np.rint(levels_K3), 0, 255).astype(np.uint8)[None]

"""Reinhard normalization (Reinhard et al., "Color Transfer between Images", IEEE CG&A 21(5), 2001) for stained slides.

Mean and standard deviation of each 8-bit Lab channel of the tissue are moved to the target's. An 8-bit channel has 256 levels,
so the whole method is one look-up table between two colour conversions; the background keeps its colour.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from nucleate.colornorm.background import Slide, darkest_channel

MAX_STRETCH = 3.0  # of contrast; more only amplifies noise
FLAT = 0.5  # levels; a channel that varies less is moved and not stretched


@dataclass(frozen=True)
class LabStatistics:
    """Mean and standard deviation of the tissue's L, a, b on the 8-bit scale, float64 3."""

    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]


def lab_statistics(slide: Slide) -> LabStatistics:
    """Of the sampled tissue pixels of a slide whose status is ""."""
    mean, deviation = cv2.meanStdDev(cv2.cvtColor(slide.sample[None], cv2.COLOR_RGB2LAB))
    return LabStatistics(np.asarray(mean, np.float64)[:, 0], np.asarray(deviation, np.float64)[:, 0])


def normalize_reinhard(rgb_HW3: NDArray[np.uint8], slide: Slide, target: LabStatistics) -> NDArray[np.uint8]:
    """HW3 uint8 RGB with the target's Lab statistics over the tissue; `slide` is what `examine` said of it."""
    table_1K3 = _table(lab_statistics(slide), target)
    lab_HW3 = cv2.LUT(cv2.cvtColor(rgb_HW3, cv2.COLOR_RGB2LAB), table_1K3)
    moved_HW3 = cv2.cvtColor(lab_HW3, cv2.COLOR_LAB2RGB)
    weight_HW = cv2.LUT(darkest_channel(rgb_HW3), slide.weight_of_level)
    return np.asarray(cv2.blendLinear(moved_HW3, rgb_HW3, weight_HW, 1.0 - weight_HW), np.uint8)


def _table(source: LabStatistics, target: LabStatistics) -> NDArray[np.uint8]:
    flat = (source.deviation < FLAT) | (target.deviation < FLAT)
    ratio = target.deviation / np.maximum(source.deviation, FLAT)
    stretch = np.where(flat, 1.0, np.clip(ratio, 1 / MAX_STRETCH, MAX_STRETCH))
    levels_K3 = (np.arange(256)[:, None] - source.mean) * stretch + target.mean
    return np.clip(np.rint(levels_K3), 0, 255).astype(np.uint8)[None]

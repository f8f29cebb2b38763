"""Distances between the distributions of real and synthetic images."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.stats import wasserstein_distance


def colour_distance(features_NF: NDArray[np.float32], names: Sequence[str], synthetic_N: NDArray[np.bool_]) -> float:
    """Mean over level and colour features of the earth mover's distance, in standard deviations of the real crops."""
    return _mean_distance(features_NF, [k for k, n in enumerate(names) if not _is_texture(n)], synthetic_N)


def texture_distance(features_NF: NDArray[np.float32], names: Sequence[str], synthetic_N: NDArray[np.bool_]) -> float:
    """The same over bands, edges, fine correlations and local patterns."""
    return _mean_distance(features_NF, [k for k, n in enumerate(names) if _is_texture(n)], synthetic_N)


def _is_texture(name: str) -> bool:
    return any(word in name for word in ("band", "gradient", "coherence", "fine", "pattern"))


def _mean_distance(features_NF: NDArray[np.float32], columns: list[int], synthetic_N: NDArray[np.bool_]) -> float:
    spread = np.maximum(features_NF[~synthetic_N].std(axis=0), 1e-9)
    real_NF, synthetic_NF = features_NF[~synthetic_N] / spread, features_NF[synthetic_N] / spread
    return float(np.mean([earth_movers(real_NF[:, k], synthetic_NF[:, k]) for k in columns]))


def earth_movers(one: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    """Wasserstein-1 distance of two samples, in their unit; infinite when one of them is empty."""
    if not one.size or not other.size:
        return float("inf")
    return float(wasserstein_distance(one, other))


def gradient_energy(rgb: NDArray[np.uint8]) -> float:
    """Mean squared gradient of the grey levels of an HWC uint8 image."""
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    return float((cv2.Sobel(grey, cv2.CV_32F, 1, 0) ** 2 + cv2.Sobel(grey, cv2.CV_32F, 0, 1) ** 2).mean() / 64)

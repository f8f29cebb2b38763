"""Bootstrap over images: how far a figure of a set would move with another draw of images (Efron & Tibshirani 1993, ch. 13).

Images are the unit that is drawn, as nuclei of one image are alike. A resample is a row of weights, how often each image was
drawn, so that every figure that is built of sums over images costs one matrix product.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
_INTERVAL = (2.5, 97.5)  # percentiles of a 95 % interval


def weights(images: int, seed: int) -> NDArray[np.float64]:
    """RESAMPLES x N counts of N images drawn N times with replacement; the same for the same seed."""
    return np.random.default_rng(seed).multinomial(images, np.full(images, 1 / images), size=RESAMPLES).astype(np.float64)


def interval(values_BV: NDArray[np.float64]) -> NDArray[np.float64]:
    """95 % percentile intervals (low, high) of V figures, V x 2; resamples that leave a figure undefined (NaN) are left out."""
    defined = ~np.isnan(values_BV).all(axis=0)
    bounds = np.full((values_BV.shape[1], 2), np.nan)
    bounds[defined] = np.nanpercentile(values_BV[:, defined], _INTERVAL, axis=0).T
    return bounds

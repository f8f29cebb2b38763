"""Non-linear mapping of two stains (Khan et al. 2014), as far as the paper defines it.

A. M. Khan et al., "A Nonlinear Mapping Approach to Stain Normalization in Digital Histopathology Images Using Image-Specific
Color Deconvolution", IEEE Transactions on Biomedical Engineering 61(6), 2014. Defined there: an image-specific stain matrix,
colour deconvolution with it, and for each stain a smooth non-linear map that takes the statistics of the source's
concentrations to those of the target's, through zero. Not defined well enough to follow: the stain matrix comes from a
classifier trained on labelled stain pixels; here Macenko's answer takes its place. The statistics are quantiles, and the smooth
map is a monotone cubic through them, so that no two concentrations change places.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from nucleate.colornorm.methods import macenko
from nucleate.colornorm.methods.density_matrix import by_strips, density_table
from nucleate.pathology.stains.stain_vectors import Stains

_QUANTILES = (25.0, 50.0, 75.0, 95.0, 99.0)
_BINS = 1024
_LOWEST, _HIGHEST = -0.5, 2.0  # of the bins, in highest quantiles: noise makes some concentrations negative
_STEEPEST = 4.0  # of the map: more only amplifies noise


@dataclass(frozen=True, eq=False)
class ConcentrationQuantiles:
    """An image's stains and the quantiles of their concentrations, 2 x 5 float64, rising."""

    stains: Stains
    quantiles: NDArray[np.float64]

    def to_array(self) -> NDArray[np.float64]:
        """All numbers in a row."""
        return np.concatenate([self.stains.to_array(), self.quantiles.ravel()])

    @classmethod
    def from_array(cls, values_18: NDArray[np.float64]) -> ConcentrationQuantiles:
        """Back from `to_array`."""
        return cls(Stains.from_array(values_18[:8]), values_18[8:18].reshape(2, len(_QUANTILES)))


def measure(sample_K3: NDArray[np.uint8]) -> ConcentrationQuantiles | None:
    """Stains and quantiles of tissue pixels; None where fewer than two stains can be told apart."""
    stains = macenko.measure(sample_K3)
    if stains is None:
        return None
    pixels = sample_K3[:: max(1, len(sample_K3) // macenko.PIXELS)]
    density = density_table(macenko.WHITE, macenko.OFFSET)[pixels]
    found = np.percentile(np.maximum(stains.concentrations(density.astype(np.float64)), 0), _QUANTILES, axis=0).T
    return ConcentrationQuantiles(stains, np.maximum(found, 1e-3 * np.arange(1, len(_QUANTILES) + 1)))


def apply(rgb_HW3: NDArray[np.uint8], source: ConcentrationQuantiles, target: ConcentrationQuantiles) -> NDArray[np.uint8]:
    """The image with its concentrations mapped and the target's stains, HW3 uint8."""
    table = density_table(macenko.WHITE, macenko.OFFSET)
    # One bin is a small step of concentration; the first and the last stand for all that is beyond them.
    low, high = _LOWEST * source.quantiles[:, -1], _HIGHEST * source.quantiles[:, -1]
    curves = [_curve(source.quantiles[k], target.quantiles[k], low[k], high[k]) for k in range(2)]
    per_unit = (_BINS - 1) / (high - low)
    unmix = np.column_stack([(np.linalg.pinv(source.stains.vectors) * per_unit).T, -low * per_unit]).astype(np.float32)
    remix = target.stains.vectors.T.astype(np.float32)

    def change(strip_HW3: NDArray[np.uint8]) -> NDArray[np.uint8]:
        places = np.asarray(cv2.transform(cv2.LUT(strip_HW3, table), unmix))
        bins = np.clip(np.rint(places, out=places), 0, _BINS - 1, out=places).astype(np.intp)
        mapped = np.stack([curves[0].take(bins[..., 0]), curves[1].take(bins[..., 1])], axis=-1)
        return np.asarray(cv2.convertScaleAbs(cv2.exp(cv2.transform(mapped, -remix)), alpha=macenko.WHITE), np.uint8)

    return by_strips(rgb_HW3, change)


def _curve(source_5: NDArray[np.float64], target_5: NDArray[np.float64], low: float, high: float) -> NDArray[np.float32]:
    """New concentration for each bin of old ones: a monotone cubic from zero through the quantiles, and lines beyond."""
    knots_x = np.concatenate([[0.0], np.maximum.accumulate(source_5 + 1e-6 * np.arange(len(source_5)))])
    knots_y = np.concatenate([[0.0], np.maximum.accumulate(target_5)])
    slope = min(float(knots_y[-1] / max(knots_x[-1], 1e-6)), _STEEPEST)
    x = np.linspace(low, high, _BINS)
    inside = PchipInterpolator(knots_x, knots_y)(np.clip(x, 0.0, knots_x[-1]))
    return np.asarray(inside + slope * (np.minimum(x, 0.0) + np.maximum(x - knots_x[-1], 0.0)), np.float32)

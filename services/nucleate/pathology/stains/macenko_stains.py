"""Macenko et al., "A method for normalizing histology slides for quantitative analysis", ISBI 2009.

Densities of two stains lie in a plane; in it, the stains are the robust extremes (percentiles 1 and 99) of the angle.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nucleate.pathology.stains.stain_vectors import ROBUST_MAX_PERCENTILE, Stains, haematoxylin_first

#: Of the light that is let through, as everybody sets it since the paper; and the density under which a pixel is glass.
WHITE, OFFSET, GLASS = 240.0, 1.0, 0.15
_ALPHA = 1.0  # percent
_DENSITY = (-np.log((np.arange(256) + OFFSET) / WHITE)).astype(np.float32)
PIXELS = 15_000  # are enough: percentiles of them move the result by under half a grey level
_MIN_PIXELS = 32


def measure(sample_K3: NDArray[np.uint8], *, full: bool = False) -> Stains | None:
    """Stains of tissue pixels, of all of them or of about `PIXELS`; None where fewer than two can be told apart."""
    tissue = _DENSITY[sample_K3 if full else sample_K3[:: max(1, len(sample_K3) // PIXELS)]]
    density = tissue[(tissue >= GLASS).all(axis=1)]
    if len(density) < _MIN_PIXELS:
        return None
    _, axes = np.linalg.eigh(np.cov(density.T))
    plane_32 = axes[:, [2, 1]]
    plane_32[:, 0] *= 1.0 if plane_32[:, 0].sum() >= 0 else -1.0  # no angle then comes near the branch of the arctangent
    along, across = (density @ plane_32).T
    angle = np.arctan2(across, along)
    ends = np.percentile(angle, [_ALPHA, 100.0 - _ALPHA])
    vectors = haematoxylin_first(*(plane_32 @ np.array([np.cos(end), np.sin(end)]) for end in ends))
    stains = Stains(vectors, np.ones(2))
    stains = Stains(vectors, np.percentile(stains.concentrations(tissue), ROBUST_MAX_PERCENTILE, axis=0))
    return None if stains.single_stain else stains

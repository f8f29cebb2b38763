"""Small deformations of a contour, for what no size and no inset explains: a nucleus that is longer, or fuller on one side.

The modes are the first Fourier harmonics of the radius over the angle, which shift, stretch and corner the contour, and
Gaussian bumps an eighth of a turn apart. Fewer of either kind were measured to need more clicks.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from nucleate.interactive.prediction.closed_contours import Contour
from nucleate.pathology.contours.minimal_cost_contour import THETA, Float, wrap_angle

HARMONICS = 3
BUMPS = 8
STEPS = (1.0, 1.0, 0.5)  # image px by which each mode is tried, pass by pass
DEFORMATION_PENALTY = 0.1  # px of residual that outweigh a squared px of deformation


def _deformation_modes() -> Float:
    """Every mode at one px: modes x ANGLES."""
    waves = [wave(n * THETA) for n in range(1, HARMONICS + 1) for wave in (np.cos, np.sin)]
    width = 2 * np.pi / BUMPS
    away = [wrap_angle(THETA - n * width) for n in range(BUMPS)]
    return np.asarray(waves + [np.exp(-np.square(angle / width)) for angle in away], np.float32)


MODES_BA = _deformation_modes()


def deformed(contour: Contour, coefficients_B: Float, factor: float) -> Contour:
    """The contour with so many image px of each mode added to its radii, and the prior penalty of that.

    `factor`: how many of the contour's pixels one image pixel is wide.
    """
    radii_A = contour.radii + np.float32(factor) * (coefficients_B @ MODES_BA)
    prior_penalty = contour.prior_penalty + DEFORMATION_PENALTY * float(np.square(coefficients_B).sum())
    return replace(contour, radii=np.maximum(radii_A, np.float32(1)), prior_penalty=prior_penalty)

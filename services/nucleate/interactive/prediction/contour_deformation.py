"""Small bends of an outline, for what no size and no inset explains: a nucleus that is longer, or fuller on one side.

Bends are the first harmonics of the radius over the angle, which shift, stretch and corner the outline, and bumps an eighth of
a turn apart. Fewer of either kind were measured to need more clicks.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from nucleate.interactive.prediction.closed_contours import Outline
from nucleate.pathology.contours.minimal_cost_contour import THETA, Float, wrap_angle

HARMONICS = 3
BUMPS = 8
STEPS = (1.0, 1.0, 0.5)  # image px by which each bend is tried, round by round
DOUBT = 0.1  # px of error in a click that outweigh a squared px of bend


def _bends() -> Float:
    """Every bend by one px: bends x ANGLES."""
    waves = [wave(n * THETA) for n in range(1, HARMONICS + 1) for wave in (np.cos, np.sin)]
    width = 2 * np.pi / BUMPS
    away = [wrap_angle(THETA - n * width) for n in range(BUMPS)]
    return np.asarray(waves + [np.exp(-np.square(angle / width)) for angle in away], np.float32)


BENDS_BA = _bends()


def bent(outline: Outline, amounts_B: Float, factor: float) -> Outline:
    """The outline bent by so many image px of each bend, and as much less likely.

    `factor`: how many of the outline's pixels one image pixel is wide.
    """
    radii_A = outline.radii + np.float32(factor) * (amounts_B @ BENDS_BA)
    unlikely = outline.unlikely + DOUBT * float(np.square(amounts_B).sum())
    return replace(outline, radii=np.maximum(radii_A, np.float32(1)), unlikely=unlikely)

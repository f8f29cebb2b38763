"""Learning rate as a function of the step number, so that a resumed training continues exactly."""

from __future__ import annotations

import math


def one_cycle(step: int, steps: int, peak: float, warm: float = 0.15, final: float = 0.01) -> float:
    """Learning rate of step 0..steps-1: cosine rise over the first `warm` share, cosine fall to `final` times the peak.

    Smith & Topin 2019, "Super-convergence", with cosine arms.
    """
    rise = max(1, round(steps * warm))
    if step < rise:
        return peak * (0.04 + 0.96 * _cosine((step + 1) / rise))
    done = (step - rise + 1) / max(1, steps - rise)
    return peak * (final + (1.0 - final) * (1.0 - _cosine(done)))


def _cosine(share: float) -> float:
    return 0.5 - 0.5 * math.cos(math.pi * min(1.0, share))

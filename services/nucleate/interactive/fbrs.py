"""f-BRS-B: optimize a scale and a bias per feature channel until the clicks are obeyed (Sofiiuk et al. 2020; report 2.1).

    minimize over (ds, db)   sum_t mean_{u in U_t} (y(u) - t)^2  +  lambda (|ds|^2 + 10 |db|^2)

y is the nucleus probability read from (1 + ds) * F(x) + db, U_1 and U_0 are the pixels of the 3 x 3 windows round the positive
and the negative clicks. The report's formula leaves out the square that the published loss has. ds and db start where the last
click left them. Work stops as soon as every window pixel is on its side, and never takes more evaluations than allowed:
scipy checks its own limit between iterations only, and its line searches run past it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import fmin_l_bfgs_b
from torch import Tensor

from nucleate.interactive.clicks import Click
from nucleate.interactive.network import InteractiveNetwork

WINDOW_RADIUS = 1
SIDE_MARGIN = 0.01
BIAS_WEIGHT = 10.0


@dataclass(frozen=True)
class RefinementOptions:
    """`most_evaluations` of loss and gradient per click; `inertia` is lambda; `early_stop` off spends all evaluations."""

    most_evaluations: int = 20
    inertia: float = 1e-3
    early_stop: bool = True


@dataclass(frozen=True, eq=False)
class Refined:
    """H x W probability at full resolution, the 2C changes (ds, db) behind it, and what they cost."""

    probability: NDArray[np.float32]
    delta: NDArray[np.float32]
    evaluations: int
    obeyed: bool


class _Enough(Exception):
    """No further evaluation is needed or allowed."""


def click_windows(clicks: Sequence[Click], height: int, width: int) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Flat pixel indices of the 3 x 3 windows, cut to the frame, and the side (0 or 1) each pixel is asked to be on.

    Where windows of both signs meet, a clicked pixel itself keeps its own sign and the other pixels are asked nothing.
    """
    asked: dict[int, set[float]] = {}
    centres: dict[int, float] = {}
    for click in clicks:
        if not (0 <= click.x < width and 0 <= click.y < height):
            continue
        centres[click.y * width + click.x] = float(click.positive)
        for y in range(max(click.y - WINDOW_RADIUS, 0), min(click.y + WINDOW_RADIUS + 1, height)):
            for x in range(max(click.x - WINDOW_RADIUS, 0), min(click.x + WINDOW_RADIUS + 1, width)):
                asked.setdefault(y * width + x, set()).add(float(click.positive))
    sides = {pixel: signs.pop() for pixel, signs in asked.items() if len(signs) == 1} | centres
    pixels = sorted(sides)
    return np.array(pixels, np.intp), np.array([sides[pixel] for pixel in pixels], np.float32)


class _Objective:
    """Loss and gradient at (ds, db); remembers the best point seen."""

    def __init__(
        self, network: InteractiveNetwork, features_1CHW: Tensor, pixels_P: Tensor, sides_P: Tensor, options: RefinementOptions
    ) -> None:
        self.network, self.features_1CHW, self.options = network, features_1CHW, options
        self.pixels_P, self.sides_P = pixels_P, sides_P
        counts = {side: max(int((sides_P == side).sum()), 1) for side in (0.0, 1.0)}
        self.weights_P = torch.where(sides_P > 0.5, 1 / counts[1.0], 1 / counts[0.0])
        self.evaluations = 0
        self.best_loss = np.inf
        self.best_delta_2C: NDArray[np.float32] = np.zeros(2 * features_1CHW.shape[1], np.float32)
        self.best_probability_HW: NDArray[np.float32] | None = None
        self.obeyed = False

    def probability(self, delta_2C: Tensor) -> Tensor:
        scale_C, bias_C = delta_2C.chunk(2)
        logits_11HW, _ = self.network.decode(self.features_1CHW, 1 + scale_C, bias_C)
        return logits_11HW[0, 0].sigmoid()

    def satisfied(self, probability_HW: Tensor) -> bool:
        error_P = (probability_HW.flatten()[self.pixels_P] - self.sides_P).abs()
        return bool((error_P < 0.5 - SIDE_MARGIN).all())

    def __call__(self, point_2C: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        if self.evaluations >= self.options.most_evaluations:
            raise _Enough
        self.evaluations += 1
        delta_2C = torch.from_numpy(point_2C.astype(np.float32)).to(self.features_1CHW.device).requires_grad_()
        probability_HW = self.probability(delta_2C)
        error_P = probability_HW.flatten()[self.pixels_P] - self.sides_P
        scale_C, bias_C = delta_2C.chunk(2)
        inertia = self.options.inertia * (scale_C.square().sum() + BIAS_WEIGHT * bias_C.square().sum())
        loss = (self.weights_P * error_P.square()).sum() + inertia
        (gradient_2C,) = torch.autograd.grad(loss, delta_2C)
        value = float(loss.detach())
        obeyed = self.satisfied(probability_HW.detach())
        if np.isfinite(value) and (obeyed, -value) > (self.obeyed, -self.best_loss):
            self.obeyed, self.best_loss = obeyed, value
            self.best_delta_2C = delta_2C.detach().cpu().numpy()
            self.best_probability_HW = probability_HW.detach().cpu().numpy()
        if obeyed and self.options.early_stop:
            raise _Enough
        return value, gradient_2C.cpu().numpy().astype(np.float64)


def refine(
    network: InteractiveNetwork,
    features_1CHW: Tensor,
    clicks: Sequence[Click],
    delta_2C: NDArray[np.float32] | None = None,
    options: RefinementOptions | None = None,
) -> Refined:
    """Probability of the nucleus after optimizing scale and bias; costs nothing beyond one head pass when all is obeyed.

    Args:
        network: only its head is run; its parameters must not require gradients.
        features_1CHW: encoder output at stride 4.
        clicks: clicks in the frame's pixels; those outside are left out.
        delta_2C: where to start, from the last click; None = no change.
        options: limits and weights.
    """
    options = options or RefinementOptions()
    height, width = 4 * features_1CHW.shape[2], 4 * features_1CHW.shape[3]
    pixels_P, sides_P = click_windows(clicks, height, width)
    device = features_1CHW.device
    objective = _Objective(
        network, features_1CHW, torch.from_numpy(pixels_P).to(device), torch.from_numpy(sides_P).to(device), options
    )
    start_2C = objective.best_delta_2C if delta_2C is None else delta_2C
    with torch.no_grad():
        probability_HW = objective.probability(torch.from_numpy(start_2C).to(device))
        obeyed = objective.satisfied(probability_HW)
    if (obeyed and options.early_stop) or not len(pixels_P) or options.most_evaluations < 1:
        return Refined(probability_HW.cpu().numpy(), start_2C, 0, obeyed)
    with contextlib.suppress(_Enough):
        fmin_l_bfgs_b(objective, start_2C.astype(np.float64), m=20, factr=0, pgtol=1e-8, maxfun=options.most_evaluations)
    if objective.best_probability_HW is None:  # every evaluation was non-finite
        return Refined(probability_HW.cpu().numpy(), start_2C, objective.evaluations, obeyed)
    return Refined(objective.best_probability_HW, objective.best_delta_2C, objective.evaluations, objective.obeyed)

"""L-BFGS with a limit that holds: scipy checks its own between iterations only, and its line searches run past it."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import fmin_l_bfgs_b
from torch import Tensor

from nucleate import errors
from nucleate.interactive.refinement.click_constraints import Asked
from nucleate.interactive.refinement.modulation import Place
from nucleate.interactive.refinement.options import Cancelled


class _Enough(Exception):
    """No further evaluation is needed or allowed."""


@dataclass(eq=False)
class Best:
    """The best point so far; obeying the clicks counts before a low energy. `probability` None = none was finite."""

    delta: Tensor
    probability: Tensor | None = None
    energy: float = np.inf
    obeyed: bool = False
    evaluations: int = 0


class Objective:
    """Energy and gradient at a change; remembers the best point seen."""

    def __init__(
        self, place: Place, asked: Asked, inertia: float, limit: int, *, early_stop: bool, cancelled: Cancelled | None
    ) -> None:
        self.best = Best(torch.zeros(place.length, device=asked.sides.device))
        self._place, self._asked, self._inertia, self._limit = place, asked, inertia, limit
        self._early_stop, self._cancelled = early_stop, cancelled

    def __call__(self, point: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """Energy E_C + lambda E_I and its gradient.

        Raises:
            errors.Cancelled: nobody waits for the result any more.
        """
        best = self.best
        if best.evaluations >= self._limit:
            raise _Enough
        if self._cancelled and self._cancelled():
            raise errors.Cancelled("the click was cancelled")
        best.evaluations += 1
        delta = torch.from_numpy(point.astype(np.float32)).to(self._asked.sides.device).requires_grad_()
        probability_HW = self._place.logits(delta).sigmoid()
        energy = self._asked.corrective(probability_HW) + self._inertia * self._place.inertia(delta)
        (gradient,) = torch.autograd.grad(energy, delta)
        value, obeyed = float(energy.detach()), self._asked.satisfied(probability_HW.detach())
        if np.isfinite(value) and (obeyed, -value) > (best.obeyed, -best.energy):
            best.obeyed, best.energy = obeyed, value
            best.delta, best.probability = delta.detach(), probability_HW.detach()
        if obeyed and self._early_stop:
            raise _Enough
        return value, gradient.cpu().numpy().astype(np.float64)


def minimise(objective: Objective, start: Tensor) -> Best:
    """Descend from `start` until the objective has had enough or the gradient vanishes."""
    with contextlib.suppress(_Enough):
        fmin_l_bfgs_b(objective, start.cpu().numpy().astype(np.float64), m=20, factr=0, pgtol=1e-8)
    return objective.best

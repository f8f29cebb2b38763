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
from nucleate.interactive.cancellation import CancellationCheck
from nucleate.interactive.refinement.click_constraints import ClickConstraints
from nucleate.interactive.refinement.modulation import AuxiliaryParameters


class _Stop(Exception):
    """No further evaluation is needed or allowed."""


@dataclass(eq=False)
class BestIterate:
    """The best point so far; obeying the clicks counts before a low energy. `probability` None = none was finite."""

    delta: Tensor
    probability: Tensor | None = None
    energy: float = np.inf
    obeyed: bool = False
    evaluations: int = 0


class Objective:
    """Energy and gradient at a change; remembers the best point seen."""

    def __init__(
        self,
        parameters: AuxiliaryParameters,
        constraints: ClickConstraints,
        inertial_weight: float,
        limit: int,
        *,
        early_stop: bool,
        cancelled: CancellationCheck | None,
    ) -> None:
        self.best = BestIterate(torch.zeros(parameters.length, device=constraints.labels.device))
        self._parameters, self._constraints = parameters, constraints
        self._inertial_weight, self._limit = inertial_weight, limit
        self._early_stop, self._cancelled = early_stop, cancelled

    def __call__(self, point: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """Energy E_C + lambda E_I and its gradient.

        Raises:
            errors.Cancelled: nobody waits for the result any more.
        """
        best = self.best
        if best.evaluations >= self._limit:
            raise _Stop
        if self._cancelled and self._cancelled():
            raise errors.Cancelled("the click was cancelled")
        best.evaluations += 1
        delta = torch.from_numpy(point.astype(np.float32)).to(self._constraints.labels.device).requires_grad_()
        probability_HW = self._parameters.logits(delta).sigmoid()
        inertial_energy = self._parameters.inertial_energy(delta)
        energy = self._constraints.corrective_energy(probability_HW) + self._inertial_weight * inertial_energy
        (gradient,) = torch.autograd.grad(energy, delta)
        value, obeyed = float(energy.detach()), self._constraints.satisfied(probability_HW.detach())
        if np.isfinite(value) and (obeyed, -value) > (best.obeyed, -best.energy):
            best.obeyed, best.energy = obeyed, value
            best.delta, best.probability = delta.detach(), probability_HW.detach()
        if obeyed and self._early_stop:
            raise _Stop
        return value, gradient.cpu().numpy().astype(np.float64)


def minimise(objective: Objective, start: Tensor) -> BestIterate:
    """Descend from `start` until the objective has had enough or the gradient vanishes."""
    with contextlib.suppress(_Stop):
        fmin_l_bfgs_b(objective, start.cpu().numpy().astype(np.float64), m=20, factr=0, pgtol=1e-8)
    return objective.best

"""Gauss-Newton on scale and bias: a solver of our own for the auxiliary parameters of f-BRS-B.

    minimize over d = (ds, db)   1/2 sum_p w_p max(0, m - s_p y_p(d))^2  +  lambda/2 (|ds|^2 + 10 |db|^2)

y_p are the logits of the constrained pixels, s_p = +-1 their signs, m a margin: a squared hinge loss on logits, whose gradient
grows with the error where that of the probability vanishes. A step linearises y at the constrained pixels alone, with the
region representations held fixed (`sparse_head`), and solves the small problem exactly in its dual, one unknown per
constrained pixel. Then one pass of the head, without gradients, evaluates the step and renews the region representations; more
steps per pass were measured to need more of both. Pixels beside a click take part in the first steps; the clicked pixels alone
decide when to stop.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nucleate import errors
from nucleate.interactive.cancellation import CancellationCheck
from nucleate.interactive.refinement.click_constraints import PROBABILITY_MARGIN, ClickConstraints
from nucleate.interactive.refinement.lbfgs import BestIterate
from nucleate.interactive.refinement.modulation import BIAS_WEIGHT, FeatureScaleBias
from nucleate.interactive.refinement.sparse_head import SparseHead

INERTIAL_WEIGHT = 0.1
MARGIN = 1.0  # of the hinge, in logits
MAX_STEP = 0.2  # of a scale or bias: the trust region of the linearisation
MAX_EVALUATIONS = 5  # unless all are to be made: of what is not solved by then more solve little, and take long
# Of the evaluations; the rest is L-BFGS's, whose gradient goes through the region representations, where steps did not do.
EVALUATION_SHARE = 0.6
WEIGHT_GROWTH = 2.0  # of a click that a step has left on the wrong side
WINDOW_STEPS = 2  # after these, pixels beside the clicks no longer count
_SATISFIED_LOGIT = math.log((0.5 + PROBABILITY_MARGIN) / (0.5 - PROBABILITY_MARGIN))  # PROBABILITY_MARGIN as a logit
_MAX_ITERATIONS = 8


def solve_squared_hinge(rows_PD: Tensor, required_P: Tensor, weights_P: Tensor, penalty_D: Tensor) -> Tensor:
    """Argmin over d of 1/2 sum_p w_p max(0, c_p - A_p d)^2 + 1/2 sum penalty d^2.

    Newton's method on the violated rows (Mangasarian 2002), each iteration a system of that many unknowns.

    Args:
        rows_PD: A.
        required_P: c.
        weights_P: w, above 0.
        penalty_D: of each coordinate, above 0.
    """
    scaled_DP = (rows_PD / penalty_D).T
    gram_PP = rows_PD @ scaled_DP
    active_P, dual_P = required_P > 0, torch.zeros_like(required_P)
    for _ in range(_MAX_ITERATIONS):
        rows = active_P.nonzero()[:, 0]
        system = gram_PP[rows[:, None], rows] + torch.diag(1 / weights_P[rows])
        dual_P = torch.zeros_like(required_P)
        dual_P[rows] = torch.linalg.solve(system, required_P[rows])
        violated_P = required_P > gram_PP @ dual_P
        if torch.equal(violated_P, active_P):
            break
        active_P = violated_P
    return scaled_DP @ dual_P


class GaussNewton:
    """One click's problem; `best` is the best iterate, as evaluated by the whole head."""

    def __init__(
        self,
        parameters: FeatureScaleBias,
        constraints: ClickConstraints,
        inertial_weight: float,
        limit: int,
        *,
        early_stop: bool,
        cancelled: CancellationCheck | None,
    ) -> None:
        device = constraints.labels.device
        self.best = BestIterate(torch.zeros(parameters.length, device=device))
        self._parameters, self._constraints, self._limit = parameters, constraints, limit
        self._early_stop, self._cancelled = early_stop, cancelled
        self._sparse_head = SparseHead(parameters.head, parameters.features, constraints.pixels)
        self._signs_P = (2 * constraints.labels - 1).double()
        self._penalty_2C = torch.full((parameters.length,), inertial_weight, dtype=torch.float64, device=device)
        self._penalty_2C[parameters.length // 2 :] *= BIAS_WEIGHT

    def minimise(self, start: Tensor) -> BestIterate:
        """Steps and evaluations in turn, from `start` until the clicks are obeyed or the limit is reached.

        Steps go on from where the last one led even if that was worse: going back was measured to solve less.

        Raises:
            errors.Cancelled: nobody waits for the result any more.
        """
        delta, best, clicked = start, self.best, self._constraints.clicked
        weights_P, included_P = torch.ones_like(self._signs_P), torch.ones_like(clicked)
        while True:
            with torch.no_grad():
                logits_HW, regions_1KD = self._parameters.decode(delta)
            if not bool(logits_HW.isfinite().all()):
                break
            margins_P = self._signs_P * logits_HW.flatten()[self._constraints.pixels].double()
            self._update_best(delta, logits_HW, margins_P)
            if (best.obeyed and self._early_stop) or best.evaluations >= self._limit:
                break
            if best.evaluations:
                weights_P = torch.where(clicked & (margins_P < _SATISFIED_LOGIT), WEIGHT_GROWTH * weights_P, weights_P)
            if best.evaluations >= WINDOW_STEPS:
                included_P = clicked
            delta = self._step(delta, regions_1KD, weights_P, included_P)
        return best

    def _update_best(self, delta: Tensor, logits_HW: Tensor, margins_P: Tensor) -> None:
        """Remember the iterate if it is the best: the fewest clicks disobeyed, then the least mean squared hinge."""
        wrong = int((self._constraints.clicked & (margins_P < _SATISFIED_LOGIT)).sum())
        hinge = float((MARGIN - margins_P).clamp(min=0).square().mean())
        energy = wrong + hinge / (1 + hinge)
        if energy < self.best.energy:
            self.best.delta, self.best.probability = delta, logits_HW.sigmoid()
            self.best.energy, self.best.obeyed = energy, wrong == 0

    def _step(self, delta: Tensor, regions_1KD: Tensor, weights_P: Tensor, included_P: Tensor) -> Tensor:
        """Towards the solution of the linearised problem, inside the trust region."""
        if self._cancelled and self._cancelled():
            raise errors.Cancelled("the click was cancelled")
        self.best.evaluations += 1
        rows = included_P.nonzero()[:, 0]
        signs_P, current_2C = self._signs_P[rows], delta.double()
        logits_P, jacobian_P2C = self._sparse_head.linearise(delta, regions_1KD)
        signed_jacobian_P2C = signs_P[:, None] * jacobian_P2C[rows].double()
        required_P = MARGIN - signs_P * logits_P[rows].double() + signed_jacobian_P2C @ current_2C
        target_2C = solve_squared_hinge(signed_jacobian_P2C, required_P, weights_P[rows], self._penalty_2C)
        return (current_2C + (target_2C - current_2C).clamp(-MAX_STEP, MAX_STEP)).float()

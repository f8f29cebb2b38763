"""Gauss-Newton on scale and bias: a solver of our own for what f-BRS-B changes.

    minimize over d = (ds, db)   1/2 sum_p w_p max(0, m - s_p y_p(d))^2  +  lambda/2 (|ds|^2 + 10 |db|^2)

y_p are the logits of the asked pixels, s_p = +-1 their sides, m a margin: on logits a badly wrong click pulls as hard as it is
wrong, where the slope of its probability vanishes. A step linearises y at the asked pixels alone, with the class vectors held
fixed (`patches`), and solves the small problem exactly in its dual, one unknown per asked pixel. Then one pass of the head,
without gradients, says what came of it and renews the class vectors; more steps per pass were measured to need more of both.
Pixels beside a click guide the steps; that the clicked pixels themselves are on their side is what ends them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nucleate import errors
from nucleate.interactive.refinement.click_constraints import SIDE_MARGIN, Asked
from nucleate.interactive.refinement.lbfgs import Best
from nucleate.interactive.refinement.modulation import BIAS_WEIGHT, FeatureScale
from nucleate.interactive.refinement.options import Cancelled
from nucleate.interactive.refinement.sparse_head import Patches

INERTIA = 0.1
MARGIN = 1.0  # logits asked of every pixel
LONGEST_STEP = 0.2  # of a scale or bias, as far as the linearisation is trusted
MOST_EVALUATIONS = 5  # unless all are to be spent: of what is not solved by then more solve little, and take long
SHARE = 0.6  # of the evaluations; the rest is L-BFGS's, whose gradient goes through the class vectors, where steps did not do
HARDER = 2.0  # more weight for a click that a step has left on the wrong side
GUIDED_STEPS = 2  # after these, pixels beside the clicks no longer count
_ENOUGH = math.log((0.5 + SIDE_MARGIN) / (0.5 - SIDE_MARGIN))  # the logit of SIDE_MARGIN beyond 0.5
_TURNS = 8


def nearest_change(rows_PD: Tensor, wanted_P: Tensor, weights_P: Tensor, price_D: Tensor) -> Tensor:
    """Argmin over d of 1/2 sum_p w_p max(0, c_p - A_p d)^2 + 1/2 sum price d^2.

    Newton's method on the rows that lack something (Mangasarian 2002), each turn a system of that many unknowns.

    Args:
        rows_PD: A.
        wanted_P: c.
        weights_P: w, above 0.
        price_D: price of each coordinate, above 0.
    """
    cheap_DP = (rows_PD / price_D).T
    gram_PP = rows_PD @ cheap_DP
    lacking_P, force_P = wanted_P > 0, torch.zeros_like(wanted_P)
    for _ in range(_TURNS):
        rows = lacking_P.nonzero()[:, 0]
        system = gram_PP[rows[:, None], rows] + torch.diag(1 / weights_P[rows])
        force_P = torch.zeros_like(wanted_P)
        force_P[rows] = torch.linalg.solve(system, wanted_P[rows])
        now_P = wanted_P > gram_PP @ force_P
        if torch.equal(now_P, lacking_P):
            break
        lacking_P = now_P
    return cheap_DP @ force_P


class GaussNewton:
    """One click's problem; `best` is the best change that the whole head has confirmed."""

    def __init__(
        self, place: FeatureScale, asked: Asked, inertia: float, limit: int, *, early_stop: bool, cancelled: Cancelled | None
    ) -> None:
        device = asked.sides.device
        self.best = Best(torch.zeros(place.length, device=device))
        self._place, self._asked, self._limit = place, asked, limit
        self._early_stop, self._cancelled = early_stop, cancelled
        self._patches = Patches(place.head, place.features, asked.pixels)
        self._signs_P = (2 * asked.sides - 1).double()
        self._price_2C = torch.full((place.length,), inertia, dtype=torch.float64, device=device)
        self._price_2C[place.length // 2 :] *= BIAS_WEIGHT

    def minimise(self, start: Tensor) -> Best:
        """Steps and looks in turn, from `start` until the clicks are obeyed or the limit is reached.

        Steps go on from where the last one led even if that was worse: going back was measured to solve less.

        Raises:
            errors.Cancelled: nobody waits for the result any more.
        """
        delta, best, clicked = start, self.best, self._asked.clicked
        weights_P, counted_P = torch.ones_like(self._signs_P), torch.ones_like(clicked)
        while True:
            with torch.no_grad():
                logits_HW, objects_1KD = self._place.read(delta)
            if not bool(logits_HW.isfinite().all()):
                break
            reached_P = self._signs_P * logits_HW.flatten()[self._asked.pixels].double()
            self._keep(delta, logits_HW, reached_P)
            if (best.obeyed and self._early_stop) or best.evaluations >= self._limit:
                break
            if best.evaluations:
                weights_P = torch.where(clicked & (reached_P < _ENOUGH), HARDER * weights_P, weights_P)
            if best.evaluations >= GUIDED_STEPS:
                counted_P = clicked
            delta = self._step(delta, objects_1KD, weights_P, counted_P)
        return best

    def _keep(self, delta: Tensor, logits_HW: Tensor, reached_P: Tensor) -> None:
        """Remember the change if it is the best: the fewest clicks disobeyed, then the least that all pixels lack."""
        wrong = int((self._asked.clicked & (reached_P < _ENOUGH)).sum())
        lacking = float((MARGIN - reached_P).clamp(min=0).square().mean())
        energy = wrong + lacking / (1 + lacking)
        if energy < self.best.energy:
            self.best.delta, self.best.probability = delta, logits_HW.sigmoid()
            self.best.energy, self.best.obeyed = energy, wrong == 0

    def _step(self, delta: Tensor, objects_1KD: Tensor, weights_P: Tensor, counted_P: Tensor) -> Tensor:
        """Towards the solution of the linearised problem, but no farther than it is trusted."""
        if self._cancelled and self._cancelled():
            raise errors.Cancelled("the click was cancelled")
        self.best.evaluations += 1
        rows = counted_P.nonzero()[:, 0]
        signs_P, here_2C = self._signs_P[rows], delta.double()
        logits_P, slopes_P2C = self._patches.linearise(delta, objects_1KD)
        rows_P2C = signs_P[:, None] * slopes_P2C[rows].double()
        wanted_P = MARGIN - signs_P * logits_P[rows].double() + rows_P2C @ here_2C
        target_2C = nearest_change(rows_P2C, wanted_P, weights_P[rows], self._price_2C)
        return (here_2C + (target_2C - here_2C).clamp(-LONGEST_STEP, LONGEST_STEP)).float()

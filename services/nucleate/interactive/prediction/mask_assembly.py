"""One nucleus's mask in image pixels, from network, contours and the corrections that select among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from nucleate.interactive.clicks import Click, Mask
from nucleate.interactive.object_mask import ObjectMask
from nucleate.interactive.prediction.closed_contours import Contour
from nucleate.interactive.prediction.contour_deformation import MODES_BA, STEPS, deformed
from nucleate.interactive.prediction.contour_selection import Correction, residual
from nucleate.interactive.prediction.mask_postprocessing import postprocess_mask
from nucleate.interactive.prediction.network_contour_mean import fused_probability
from nucleate.interactive.prediction.zoom_in import Frame
from nucleate.pathology.contours.minimal_cost_contour import Float


@dataclass(frozen=True, eq=False)
class _Candidate:
    """A mask, its residual plus prior penalty, px, and its contour unless it is the network's own."""

    mask: ObjectMask
    score: float
    contour: Contour | None


@dataclass(frozen=True, eq=False)
class MaskAssembly:
    """What the candidate masks of one prediction share.

    Attributes:
        frame: what the network saw, in its pixels.
        image_frame: the same in image pixels; all arrays and clicks are of it.
        factor: how many of the network's pixels one image pixel is wide.
        probability: the network's, 0..1.
        clicks: oldest first.
        excluded: pixels that the object may not have.
        previous: the whole mask before the last click.
        progressive_merge: make the change at the last click only (`postprocess_mask`).
    """

    frame: Frame
    image_frame: Frame
    factor: float
    probability: Float
    clicks: Sequence[Click]
    excluded: Mask
    previous: ObjectMask
    progressive_merge: bool

    def best_mask(self, found: Sequence[Contour], corrections: Sequence[Correction]) -> ObjectMask:
        """Of the masks from contours, smallest prior penalty first, the one of the least residual plus penalty.

        Contours that leave a click on the wrong side are replaced by the network's own mask, once for all of them. The best
        contour is then deformed by coordinate descent as long as the sum falls.
        """
        best = self._best_candidate(found, corrections)
        return (self._deformed(best, best.contour, corrections) if best.contour and corrections else best).mask

    def _best_candidate(self, found: Sequence[Contour], corrections: Sequence[Correction]) -> _Candidate:
        best, by_network = None, False
        for contour in found:
            best_score = best.score if best else np.inf
            if contour.prior_penalty >= best_score:
                break
            contour_HW = contour.coverage_if_consistent(self.clicks, self.frame, self.image_frame, self.factor)
            if contour_HW is None and by_network:
                continue
            by_network = by_network or contour_HW is None
            best = self._scored(contour, contour_HW, corrections, best_score) or best
        return best or _Candidate(self._mask(None), np.inf, None)

    def _deformed(self, best: _Candidate, contour: Contour, corrections: Sequence[Correction]) -> _Candidate:
        """Coordinate descent over the modes, in both directions of each, for as long as the score falls."""
        coefficients_B = np.zeros(len(MODES_BA), np.float32)
        for step in STEPS:
            for mode, sign in product(range(len(MODES_BA)), (1, -1)):
                trial_B = coefficients_B.copy()
                trial_B[mode] += sign * step
                trial = deformed(contour, trial_B, self.factor)
                if trial.prior_penalty >= best.score:
                    continue
                contour_HW = trial.coverage_if_consistent(self.clicks, self.frame, self.image_frame, self.factor)
                found = None if contour_HW is None else self._scored(trial, contour_HW, corrections, best.score)
                if found:
                    best, coefficients_B = found, trial_B
        return best

    def _scored(
        self, contour: Contour, contour_HW: Float | None, corrections: Sequence[Correction], best_score: float
    ) -> _Candidate | None:
        """The mask of a contour, or the network's own, if that scores below `best_score`."""
        mask = self._mask(contour_HW)
        score = contour.prior_penalty + residual(mask, corrections, best_score - contour.prior_penalty)
        return _Candidate(mask, score, None if contour_HW is None else contour) if score < best_score else None

    def _mask(self, contour_HW: Float | None) -> ObjectMask:
        """The whole mask, from the mean of network and contour."""
        x, y, size = self.image_frame.x, self.image_frame.y, self.image_frame.size
        fused_HW = fused_probability(self.probability, contour_HW, self.factor)
        mask_HW = postprocess_mask(
            fused_HW, self.clicks, self.excluded, self.previous.crop(x, y, size, size), progressive_merge=self.progressive_merge
        )
        return self.previous.with_part(x, y, mask_HW)

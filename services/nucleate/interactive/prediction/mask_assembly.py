"""One nucleus's mask in image pixels, from network, outlines and the corrections that decide among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from nucleate.interactive.clicks import Click, Mask
from nucleate.interactive.object_mask import ObjectMask
from nucleate.interactive.prediction.closed_contours import Outline
from nucleate.interactive.prediction.contour_deformation import BENDS_BA, STEPS, bent
from nucleate.interactive.prediction.contour_selection import Correction, unexplained
from nucleate.interactive.prediction.mask_postprocessing import finish
from nucleate.interactive.prediction.network_contour_mean import agreed
from nucleate.interactive.prediction.zoom_in import Frame
from nucleate.pathology.contours.minimal_cost_contour import Float


@dataclass(frozen=True, eq=False)
class _Choice:
    """A mask, what it leaves unexplained with how unlikely it is, px, and its outline unless it is the network's own."""

    mask: ObjectMask
    score: float
    outline: Outline | None


@dataclass(frozen=True, eq=False)
class Shaping:
    """What the possible masks of one look share.

    Attributes:
        frame: what the network saw, in its pixels.
        shown: the same in image pixels; all arrays and clicks are of it.
        factor: how many of the network's pixels one image pixel is wide.
        probability: the network's, 0..1.
        clicks: oldest first.
        locked: pixels that the object may not have.
        previous: the whole mask before the last click.
        anew: answer all clicks together (`finishing.finish`).
    """

    frame: Frame
    shown: Frame
    factor: float
    probability: Float
    clicks: Sequence[Click]
    locked: Mask
    previous: ObjectMask
    anew: bool

    def likeliest(self, found: Sequence[Outline], made: Sequence[Correction]) -> ObjectMask:
        """Of the masks from outlines, likeliest first, the one that best explains the corrections for how likely it is.

        An outline that leaves a click on the wrong side has no say: the network's own mask stands in for all of them. The best
        one is then bent as long as that explains more.
        """
        best = self._best_of(found, made)
        return (self._best_bent(best, best.outline, made) if best.outline and made else best).mask

    def _best_of(self, found: Sequence[Outline], made: Sequence[Correction]) -> _Choice:
        best, by_network = None, False
        for outline in found:
            least = best.score if best else np.inf
            if outline.unlikely >= least:
                break
            outline_HW = outline.serving(self.clicks, self.frame, self.shown, self.factor)
            if outline_HW is None and by_network:
                continue
            by_network = by_network or outline_HW is None
            best = self._judged(outline, outline_HW, made, least) or best
        return best or _Choice(self._mask(None), np.inf, None)

    def _best_bent(self, best: _Choice, outline: Outline, made: Sequence[Correction]) -> _Choice:
        """One bend after the other, to and fro, as long as it explains more than it costs."""
        amounts_B = np.zeros(len(BENDS_BA), np.float32)
        for step in STEPS:
            for bend, sign in product(range(len(BENDS_BA)), (1, -1)):
                tried_B = amounts_B.copy()
                tried_B[bend] += sign * step
                tried = bent(outline, tried_B, self.factor)
                if tried.unlikely >= best.score:
                    continue
                outline_HW = tried.serving(self.clicks, self.frame, self.shown, self.factor)
                found = None if outline_HW is None else self._judged(tried, outline_HW, made, best.score)
                if found:
                    best, amounts_B = found, tried_B
        return best

    def _judged(self, outline: Outline, outline_HW: Float | None, made: Sequence[Correction], least: float) -> _Choice | None:
        """The mask of an outline, or the network's own, if that scores below `least`."""
        mask = self._mask(outline_HW)
        score = outline.unlikely + unexplained(mask, made, least - outline.unlikely)
        return _Choice(mask, score, None if outline_HW is None else outline) if score < least else None

    def _mask(self, outline_HW: Float | None) -> ObjectMask:
        """The whole mask that network and outline agree on."""
        x, y, size = self.shown.x, self.shown.y, self.shown.size
        agreed_HW = agreed(self.probability, outline_HW, self.factor)
        mask_HW = finish(agreed_HW, self.clicks, self.locked, self.previous.within(x, y, size, size), anew=self.anew)
        return self.previous.replaced(x, y, mask_HW)

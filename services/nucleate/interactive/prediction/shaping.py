"""One nucleus's mask in image pixels, from network, outlines and the corrections that decide among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nucleate.interactive.clicks import Click, Mask
from nucleate.interactive.masks import ObjectMask
from nucleate.interactive.prediction.agreement import agreed
from nucleate.interactive.prediction.closing import Outline
from nucleate.interactive.prediction.finishing import finish
from nucleate.interactive.prediction.frames import Frame
from nucleate.interactive.prediction.hindsight import Correction, unexplained
from nucleate.pathology.outlines import Float


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

        An outline that leaves a click on the wrong side has no say: the network's own mask stands in for all of them.
        """
        best, least, by_network = None, np.inf, False
        for outline in found:
            if outline.unlikely >= least:
                break
            outline_HW = outline.serving(self.clicks, self.frame, self.shown, self.factor)
            if outline_HW is None and by_network:
                continue
            by_network = by_network or outline_HW is None
            mask = self._mask(outline_HW)
            score = outline.unlikely + unexplained(mask, made, least - outline.unlikely)
            if score < least:
                best, least = mask, score
        return self._mask(None) if best is None else best

    def _mask(self, outline_HW: Float | None) -> ObjectMask:
        """The whole mask that network and outline agree on."""
        x, y, size = self.shown.x, self.shown.y, self.shown.size
        agreed_HW = agreed(self.probability, outline_HW, self.factor)
        mask_HW = finish(agreed_HW, self.clicks, self.locked, self.previous.within(x, y, size, size), anew=self.anew)
        return self.previous.replaced(x, y, mask_HW)

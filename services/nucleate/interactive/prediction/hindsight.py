"""What a person means by a correction: an outline under which every click went where the mask shown was most wrong.

People click the middle of what is most wrong, as the NoC protocol has it. Each click therefore tells more than the side its
pixel is on: the contour meant departs from the mask shown nowhere much farther than at the click. An outline explains a click
as far as its largest error against the mask shown then lies at the click; what lies deeper elsewhere is left unexplained.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nucleate.interactive.clicks import Click, Mask, depth
from nucleate.interactive.masks import ObjectMask

MEMORY = 20  # latest corrections that an outline is held against


@dataclass(frozen=True, eq=False)
class Correction:
    """A click and the mask that was shown when it was made, in image pixels."""

    shown: ObjectMask
    click: Click


def corrections(shown: Sequence[ObjectMask], clicks: Sequence[Click]) -> list[Correction]:
    """The latest corrections among clicks, each with the mask before it; a click on nothing corrects nothing."""
    pairs = [Correction(mask, click) for mask, click in zip(shown, clicks, strict=True) if mask.area]
    return pairs[-MEMORY:]


def unexplained(meant: ObjectMask, made: Iterable[Correction], most: float = np.inf) -> float:
    """Sum over corrections of the deepest error of the mask shown less its depth at the click, px; more than `most` ends it.

    `meant`: the mask that the person is supposed to have in mind.
    """
    total = 0.0
    for each in made:
        total += _unexplained(meant, each)
        if total > most:
            break
    return total


def _unexplained(meant: ObjectMask, made: Correction) -> float:
    masks, click = (meant, made.shown), made.click
    left, top = min(mask.x for mask in masks), min(mask.y for mask in masks)
    right = max(mask.x + mask.bits.shape[1] for mask in masks)
    bottom = max(mask.y + mask.bits.shape[0] for mask in masks)
    meant_HW, shown_HW = (mask.within(left, top, right - left, bottom - top) for mask in masks)
    missed, wrong = _depths(meant_HW & ~shown_HW), _depths(shown_HW & ~meant_HW)
    own = missed if click.positive else wrong
    x, y = click.x - left, click.y - top
    seen = 0 <= y < own.shape[0] and 0 <= x < own.shape[1]
    return float(max(missed.max(), wrong.max()) - (own[y, x] if seen else 0))


def _depths(error_HW: Mask) -> NDArray[np.float32]:
    return depth(error_HW) if error_HW.any() else np.zeros(error_HW.shape, np.float32)

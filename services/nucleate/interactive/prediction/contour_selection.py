"""What a person means by a correction: an outline under which every click went where the mask shown was most wrong.

People click the middle of what is most wrong, as the NoC protocol has it. Each click therefore tells more than the side its
pixel is on: the contour meant departs from the mask shown nowhere much farther than at the click. An outline explains a click
as far as its largest error against the mask shown then lies at the click; what lies deeper elsewhere is left unexplained.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from nucleate.interactive.clicks import Click, error_depths
from nucleate.interactive.object_mask import ObjectMask, around

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
    left, top, width, height = box = around(meant, made.shown)
    missed, wrong = error_depths(meant.within(*box), made.shown.within(*box), ())
    own = missed if made.click.positive else wrong
    x, y = made.click.x - left, made.click.y - top
    at_click = own[y, x] if 0 <= y < height and 0 <= x < width else 0
    return float(max(missed.max(), wrong.max()) - at_click)

"""Selection of a contour by corrective clicks: one under which every click went where the mask shown was most wrong.

People click the middle of what is most wrong, as the NoC protocol has it. Each click therefore tells more than the side its
pixel is on: the target contour departs from the mask shown nowhere much farther than at the click. A contour explains a
click as far as its largest error against the mask shown then lies at the click; what lies deeper elsewhere is its residual.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from nucleate.interactive.clicks import Click, error_depths
from nucleate.interactive.object_mask import ObjectMask, union_box

MAX_CORRECTIONS = 20  # latest corrections that a contour is compared with


@dataclass(frozen=True, eq=False)
class Correction:
    """A corrective click and the mask that it corrects, in image pixels."""

    mask: ObjectMask
    click: Click


def latest_corrections(masks: Sequence[ObjectMask], clicks: Sequence[Click]) -> list[Correction]:
    """The latest corrections among clicks, each with the mask before it; a click on nothing corrects nothing."""
    pairs = [Correction(mask, click) for mask, click in zip(masks, clicks, strict=True) if mask.area]
    return pairs[-MAX_CORRECTIONS:]


def residual(target: ObjectMask, corrections: Iterable[Correction], limit: float = np.inf) -> float:
    """Sum over corrections of the deepest error of the mask shown less its depth at the click, px; ends early past `limit`.

    `target`: the mask that the person is supposed to want.
    """
    total = 0.0
    for each in corrections:
        total += _residual(target, each)
        if total > limit:
            break
    return total


def _residual(target: ObjectMask, correction: Correction) -> float:
    left, top, width, height = box = union_box(target, correction.mask)
    missed, wrong = error_depths(target.crop(*box), correction.mask.crop(*box))
    own = missed if correction.click.positive else wrong
    x, y = correction.click.x - left, correction.click.y - top
    at_click = own[y, x] if 0 <= y < height and 0 <= x < width else 0
    return float(max(missed.max(), wrong.max()) - at_click)

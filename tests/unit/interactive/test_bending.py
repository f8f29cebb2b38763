from __future__ import annotations

import numpy as np
import pytest

from nucleate.interactive.clicks import Click, intersection_over_union, next_click
from nucleate.interactive.masks import ObjectMask
from nucleate.interactive.prediction.bending import BENDS_BA, DOUBT, bent
from nucleate.interactive.prediction.closing import Outline
from nucleate.interactive.prediction.frames import Frame
from nucleate.interactive.prediction.hindsight import Correction, unexplained
from nucleate.interactive.prediction.shaping import Shaping
from nucleate.pathology.outlines import ANGLES

FRAME = Frame(0, 0, 64)
ROUND = Outline(Click(32, 32, positive=True), np.full(ANGLES, 10, np.float32), 0.5)


def an_ellipse(across: float, down: float, x: float = 32) -> np.ndarray:
    rows, columns = np.mgrid[:64, :64]
    return ((rows - 32) / down) ** 2 + ((columns - x) / across) ** 2 <= 1


def shaping(clicks: list[Click], shown: ObjectMask) -> Shaping:
    flat, free = np.full((64, 64), 0.5, np.float32), np.zeros((64, 64), bool)
    return Shaping(FRAME, FRAME, 1.0, flat, clicks, free, shown, anew=True)


def test_a_bend_is_in_image_pixels_and_costs_its_square():
    amounts = np.zeros(len(BENDS_BA), np.float32)
    amounts[0] = 2
    twice_enlarged = bent(ROUND, amounts, 2.0)
    assert twice_enlarged.radii[0] == pytest.approx(14)
    assert twice_enlarged.radii[ANGLES // 2] == pytest.approx(6)
    assert twice_enlarged.unlikely == pytest.approx(ROUND.unlikely + 4 * DOUBT)
    assert (bent(ROUND, 20 * amounts, 1.0).radii >= 1).all()


@pytest.mark.parametrize("meant", [an_ellipse(15, 9), an_ellipse(9, 15), an_ellipse(11, 11, 36)])
def test_an_outline_bends_towards_what_corrections_mean_and_obeys_them(meant):
    first = Click(32, 32, positive=True)
    shown = ObjectMask.cut(an_ellipse(10, 10))
    second = next_click(meant, shown.within(0, 0, 64, 64), [first])
    assert second is not None
    made = [Correction(shown, second)]
    plain = shaping([first], shown).likeliest([ROUND], [])
    found = shaping([first, second], shown).likeliest([bent(ROUND, _towards(second), 1.0)], made)
    assert found.holds(second.x, second.y) == second.positive
    assert unexplained(found, made) < 1
    before, after = (intersection_over_union(meant, mask.within(0, 0, 64, 64)) for mask in (plain, found))
    assert after > before


def _towards(click: Click) -> np.ndarray:
    """A first bump that puts the click on its side, as an outline bounded by the clicks would."""
    angle = np.arctan2(click.y - 32, click.x - 32) % (2 * np.pi)
    amounts = np.zeros(len(BENDS_BA), np.float32)
    amounts[6 + round(angle / (np.pi / 4)) % 8] = 4 if click.positive else -4
    return amounts

from __future__ import annotations

import numpy as np
import pytest

from nucleate.interactive.clicks import Click, intersection_over_union, next_click
from nucleate.interactive.object_mask import ObjectMask
from nucleate.interactive.prediction.closed_contours import Outline
from nucleate.interactive.prediction.contour_deformation import BENDS_BA, DOUBT, bent
from nucleate.interactive.prediction.contour_selection import Correction, unexplained
from nucleate.interactive.prediction.mask_assembly import Shaping
from nucleate.interactive.prediction.zoom_in import Frame
from nucleate.pathology.contours.minimal_cost_contour import ANGLES

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


@pytest.mark.parametrize(
    ("meant", "shown"),
    [
        (an_ellipse(15, 9), an_ellipse(19, 10)),
        (an_ellipse(9, 15), an_ellipse(10, 19)),
        (an_ellipse(13, 9, 35), an_ellipse(17, 10, 37)),
    ],
)
def test_an_outline_bends_towards_what_a_correction_means(meant, shown):
    """The click says "not here", where the outline is not anyway; how little was wrong there says how long the nucleus is."""
    first, mask = Click(32, 32, positive=True), ObjectMask.cut(shown)
    second = next_click(meant, shown, [first])
    assert second is not None
    assert not second.positive
    clicks, made = [first, second], [Correction(mask, second)]
    unbent = shaping(clicks, mask).likeliest([ROUND], [])
    found = shaping(clicks, mask).likeliest([ROUND], made)
    assert all(found.holds(click.x, click.y) == click.positive for click in clicks)
    assert unexplained(found, made) < unexplained(unbent, made) - 0.5
    before, after = (intersection_over_union(meant, each.within(0, 0, 64, 64)) for each in (unbent, found))
    assert after > before + 0.03

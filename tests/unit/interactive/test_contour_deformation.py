from __future__ import annotations

import numpy as np
import pytest

from nucleate.interactive.clicks import Click
from nucleate.interactive.object_mask import ObjectMask
from nucleate.interactive.prediction.closed_contours import Contour
from nucleate.interactive.prediction.contour_deformation import DEFORMATION_PENALTY, MODES_BA, deformed
from nucleate.interactive.prediction.contour_selection import Correction, residual
from nucleate.interactive.prediction.mask_assembly import MaskAssembly
from nucleate.interactive.prediction.zoom_in import Frame
from nucleate.interactive.training.click_simulation import simulated_click
from nucleate.pathology.contours.minimal_cost_contour import ANGLES
from nucleate.pathology.instances.mask_iou import intersection_over_union

FRAME = Frame(0, 0, 64)
ROUND = Contour(Click(32, 32, positive=True), np.full(ANGLES, 10, np.float32), 0.5)


def an_ellipse(across: float, down: float, x: float = 32) -> np.ndarray:
    rows, columns = np.mgrid[:64, :64]
    return ((rows - 32) / down) ** 2 + ((columns - x) / across) ** 2 <= 1


def assembly(clicks: list[Click], shown: ObjectMask) -> MaskAssembly:
    flat, free = np.full((64, 64), 0.5, np.float32), np.zeros((64, 64), bool)
    return MaskAssembly(FRAME, FRAME, 1.0, flat, clicks, free, shown, progressive_merge=False)


def test_a_deformation_is_in_image_pixels_and_costs_its_square():
    amounts = np.zeros(len(MODES_BA), np.float32)
    amounts[0] = 2
    twice_enlarged = deformed(ROUND, amounts, 2.0)
    assert twice_enlarged.radii[0] == pytest.approx(14)
    assert twice_enlarged.radii[ANGLES // 2] == pytest.approx(6)
    assert twice_enlarged.prior_penalty == pytest.approx(ROUND.prior_penalty + 4 * DEFORMATION_PENALTY)
    assert (deformed(ROUND, 20 * amounts, 1.0).radii >= 1).all()


@pytest.mark.parametrize(
    ("meant", "shown"),
    [
        (an_ellipse(15, 9), an_ellipse(19, 10)),
        (an_ellipse(9, 15), an_ellipse(10, 19)),
        (an_ellipse(13, 9, 35), an_ellipse(17, 10, 37)),
    ],
)
def test_a_contour_is_deformed_towards_what_a_correction_means(meant, shown):
    """The click says "not here", where the contour is not anyway; how little was wrong there says how long the nucleus is."""
    first, mask = Click(32, 32, positive=True), ObjectMask.from_array(shown)
    second = simulated_click(meant, shown, [first])
    assert second is not None
    assert not second.positive
    clicks, corrections = [first, second], [Correction(mask, second)]
    undeformed = assembly(clicks, mask).best_mask([ROUND], [])
    found = assembly(clicks, mask).best_mask([ROUND], corrections)
    assert all(found.contains(click.x, click.y) == click.positive for click in clicks)
    assert residual(found, corrections) < residual(undeformed, corrections) - 0.5
    before, after = (intersection_over_union(meant, each.crop(0, 0, 64, 64)) for each in (undeformed, found))
    assert after > before + 0.03

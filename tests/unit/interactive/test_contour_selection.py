from __future__ import annotations

import numpy as np
import pytest

from nucleate.interactive.clicks import Click
from nucleate.interactive.object_mask import ObjectMask
from nucleate.interactive.prediction.contour_selection import MAX_CORRECTIONS, Correction, latest_corrections, residual
from nucleate.interactive.training.click_simulation import simulated_click


def a_disk(radius: float, x: float = 32, y: float = 32) -> ObjectMask:
    rows, columns = np.mgrid[:64, :64]
    return ObjectMask.from_array((rows - y) ** 2 + (columns - x) ** 2 <= radius**2)


def whole(mask: ObjectMask) -> np.ndarray:
    return mask.crop(0, 0, 64, 64)


@pytest.mark.parametrize("shown", [a_disk(14), a_disk(6), a_disk(10, 36), a_disk(9, 28, 35)])
def test_the_target_has_no_residual(shown):
    meant = a_disk(10)
    click = simulated_click(whole(meant), whole(shown))
    assert click is not None
    assert residual(meant, [Correction(shown, click)]) == 0


def test_errors_deeper_than_at_the_click_are_counted_in_pixels():
    shown, click = a_disk(12), Click(32, 20, positive=False)  # at the very rim
    assert residual(a_disk(11), [Correction(shown, click)]) == 0
    much_smaller = residual(a_disk(4), [Correction(shown, click)])
    assert much_smaller == pytest.approx(3, abs=1)  # 8 px are too many everywhere, and their middle lies 4 px deep
    assert residual(shown, [Correction(shown, click)]) == 0
    assert residual(a_disk(20), [Correction(shown, click)]) > 3  # far too small, yet the click says too large


def test_corrections_add_up_until_they_are_too_many():
    one = Correction(a_disk(12), Click(32, 20, positive=False))
    once = residual(a_disk(4), [one])
    assert residual(a_disk(4), [one, one]) == pytest.approx(2 * once)
    assert once <= residual(a_disk(4), iter([one, one, one]), once / 2) < 2 * once


def test_clicks_pair_with_the_masks_before_them_and_the_first_corrects_nothing():
    clicks = [Click(x, 32, positive=True) for x in range(MAX_CORRECTIONS + 5)]
    shown = [ObjectMask.empty(), *[a_disk(5 + n / 4) for n in range(MAX_CORRECTIONS + 4)]]
    made = latest_corrections(shown, clicks)
    assert len(made) == MAX_CORRECTIONS
    assert made[-1].click == clicks[-1]
    assert made[-1].mask is shown[-1]
    assert [each.click for each in latest_corrections(shown[:2], clicks[:2])] == [clicks[1]]

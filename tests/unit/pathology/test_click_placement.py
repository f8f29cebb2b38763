"""The next-click rule and the IoU that simulated users share."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nucleate.pathology.instances.click_placement import next_click
from nucleate.pathology.instances.mask_iou import intersection_over_union

PAIRS = hnp.array_shapes(min_dims=2, max_dims=2, min_side=3, max_side=9).flatmap(
    lambda shape: st.tuples(hnp.arrays(bool, shape), hnp.arrays(bool, shape))
)


def slow_next_click(missed, wrong, clicked):
    """The rule as it is written: distance to the nearest pixel outside the region or the frame; the first deepest pixel."""

    def deepest(region):
        best = (0.0, None)
        outside = np.argwhere(~np.pad(region, 1)) - 1
        for y, x in np.argwhere(region).tolist():
            depth = np.sqrt(((outside - (y, x)) ** 2).sum(1).min())
            if (x, y) not in clicked and depth > best[0] + 1e-6:
                best = (depth, (x, y))
        return best

    missed, wrong = deepest(missed), deepest(wrong)
    if missed[1] is None and wrong[1] is None:
        return None
    return (*missed[1], True) if missed[0] > wrong[0] + 1e-6 else (*wrong[1], False)


@settings(max_examples=150, deadline=None)
@given(PAIRS, st.sets(st.tuples(st.integers(-1, 3), st.integers(-1, 3)), max_size=4))
def test_next_click_is_the_standard_rule(masks, clicked):
    nucleus, mask = masks
    missed, wrong = nucleus & ~mask, mask & ~nucleus
    assert next_click(missed, wrong, clicked) == slow_next_click(missed, wrong, clicked)


def test_of_equally_large_errors_the_wrongly_covered_one_is_clicked():
    missed, wrong = np.zeros((2, 9, 20), bool)
    missed[2:7, 2:7] = True
    wrong[2:7, 12:17] = True
    assert next_click(missed, wrong) == (14, 4, False)


def test_intersection_over_union():
    nothing, everything, half = np.zeros((4, 4), bool), np.ones((4, 4), bool), np.arange(16).reshape(4, 4) < 8
    assert intersection_over_union(nothing, nothing) == 1
    assert intersection_over_union(everything, everything) == 1
    assert intersection_over_union(everything, half) == 0.5
    assert intersection_over_union(everything, nothing) == 0

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nucleate.interactive.clicks import Click, intersection_over_union, next_click
from nucleate.interactive.prediction.correcting import corrected

CENTRE = Click(48, 48, positive=True)


def an_ellipse(across: float, down: float, x: float = 48, y: float = 48) -> np.ndarray:
    rows, columns = np.mgrid[:96, :96]
    return ((columns - x) / across) ** 2 + ((rows - y) / down) ** 2 <= 1


def test_a_missed_part_is_joined_convexly():
    mask = an_ellipse(10, 10)
    edited = corrected(mask, [CENTRE, Click(64, 48, positive=True)])
    assert edited is not None
    assert edited[48, 58:70].all()  # the click lies 6 px off the mask, so 6 px beyond it are missed as well
    assert not edited[48, 72]
    assert edited[44, 60]  # between mask and disk, on neither
    assert (edited & mask == mask).all()


def test_what_is_too_much_goes_up_to_the_inner_tangent():
    mask = an_ellipse(20, 10)
    edited = corrected(mask, [CENTRE, Click(62, 48, positive=False)])
    assert edited is not None
    assert not edited[:, 62:].any()
    assert edited[48, 40:55].all()
    far = corrected(an_ellipse(40, 10), [CENTRE, Click(48, 54, positive=False)])
    assert far is not None
    assert far[[48, 52], [10, 20]].all()  # an edit is local


def test_an_edit_says_nothing_where_there_is_nothing_to_say():
    mask = an_ellipse(10, 10)
    assert corrected(np.zeros_like(mask), [CENTRE]) is None
    assert corrected(mask, [CENTRE, Click(50, 48, positive=True)]) is None
    assert corrected(mask, [CENTRE, Click(70, 48, positive=False)]) is None
    assert corrected(mask, [CENTRE, Click(300, 48, positive=True)]) is None


@pytest.mark.parametrize(("across", "down", "x"), [(14, 9, 48), (7, 12, 52), (10, 6, 46), (16, 16, 48)])
def test_edits_alone_reach_any_ellipse_in_a_few_clicks(across, down, x):
    truth, mask, clicks = an_ellipse(across, down, x), an_ellipse(9, 9), [CENTRE]
    for _ in range(8):
        if intersection_over_union(truth, mask) >= 0.8:
            break
        clicks.append(next_click(truth, mask, clicks))
        mask = corrected(mask, clicks)
    assert intersection_over_union(truth, mask) >= 0.8


@given(
    st.lists(
        st.tuples(st.integers(0, 39), st.integers(0, 39), st.booleans()), min_size=1, max_size=8, unique_by=lambda c: c[:2]
    )
)
@settings(max_examples=60, deadline=None)
def test_an_edit_obeys_every_click(placed):
    rows, columns = np.mgrid[:40, :40]
    mask = (rows - 20) ** 2 + (columns - 18) ** 2 <= 81
    clicks = []
    for x, y, positive in placed:
        clicks.append(Click(x, y, positive))
        edited = corrected(mask, clicks)
        if edited is not None:
            assert all(edited[c.y, c.x] == c.positive for c in clicks)
            mask = edited

"""The next-click rule, the jittered hand, and the record of a nucleus's clicks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nucleate import errors
from nucleate.annotator.bench.clicked_nucleus import Attempt, click_nucleus, from_lines, to_lines
from nucleate.annotator.robot import session_tool
from nucleate.annotator.robot.click_noise import Hand
from nucleate.annotator.robot.oracle import error_region, next_click
from nucleate.annotator.robot.session_tool import Answer

MASKS = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, min_side=3, max_side=9))
PAIRS = hnp.array_shapes(min_dims=2, max_dims=2, min_side=3, max_side=9).flatmap(
    lambda shape: st.tuples(hnp.arrays(bool, shape), hnp.arrays(bool, shape))
)


def slow_next_click(nucleus, mask, clicked):
    """The rule as it is written: distance to the nearest pixel outside the region or the frame; the first deepest pixel."""

    def deepest(region):
        best = (0.0, None)
        outside = np.argwhere(~np.pad(region, 1)) - 1
        for y, x in np.argwhere(region).tolist():
            depth = np.sqrt(((outside - (y, x)) ** 2).sum(1).min())
            if (x, y) not in clicked and depth > best[0] + 1e-6:
                best = (depth, (x, y))
        return best

    missed, wrong = deepest(nucleus & ~mask), deepest(mask & ~nucleus)
    if missed[1] is None and wrong[1] is None:
        return None
    return (*missed[1], True) if missed[0] > wrong[0] + 1e-6 else (*wrong[1], False)


@settings(max_examples=150, deadline=None)
@given(PAIRS, st.sets(st.tuples(st.integers(0, 2), st.integers(0, 2)), max_size=4))
def test_next_click_is_the_standard_rule(masks, clicked):
    nucleus, mask = masks
    assert next_click(nucleus, mask, np.ones_like(mask), clicked) == slow_next_click(nucleus, mask, clicked)


def test_of_equally_large_errors_the_wrongly_held_one_is_clicked():
    nucleus, mask = np.zeros((2, 9, 20), bool)
    nucleus[2:7, 2:7] = True
    mask[2:7, 12:17] = True
    assert next_click(nucleus, mask, np.ones_like(mask), set()) == (14, 4, False)


@settings(max_examples=200, deadline=None)
@given(MASKS.filter(lambda region: region.any()), st.floats(0, 9), st.integers(0, 99), st.data())
def test_a_jittered_click_stays_in_its_region_and_off_clicked_pixels(region, jitter, seed, data):
    pixels = [(x, y) for y, x in np.argwhere(region).tolist()]
    meant = data.draw(st.sampled_from(pixels))
    clicked = set(data.draw(st.lists(st.sampled_from(pixels), max_size=len(pixels)))) - {meant}
    landed = Hand(jitter, [seed]).place(*meant, region, clicked)
    assert region[landed[1], landed[0]]
    assert landed not in clicked
    assert landed == Hand(jitter, [seed]).place(*meant, region, clicked)
    if not jitter:
        assert landed == meant


def test_a_jittered_click_does_not_jump_to_another_part_of_the_error():
    region = np.zeros((9, 40), bool)
    region[2:7, 2:7] = region[2:7, 9:14] = True
    hand = Hand(6.0, [1])
    landed = {hand.place(4, 4, region, set()) for _ in range(200)}
    assert len(landed) > 10
    assert max(x for x, _ in landed) < 7


class Halves:
    """A tool whose mask is the nucleus cut at a column that moves right with every click, plus an answer's other figures."""

    def __init__(self, nucleus, widths):
        self.nucleus, self.widths, self.placed, self.deleted = nucleus, list(widths), [], []

    def place(self, x, y, *, positive):
        self.placed.append((x, y, positive))
        mask = self.nucleus.copy()
        mask[:, self.widths[len(self.placed) - 1] :] = False
        return Answer(7, mask, 0, 3, 10.0, 12.5)

    def delete(self, object_id):
        self.deleted.append(object_id)


def a_nucleus():
    nucleus = np.zeros((30, 30), bool)
    nucleus[5:25, 5:25] = True
    return nucleus


def test_a_nucleus_is_clicked_until_iou_90_and_dropped():
    tool, attempt = Halves(a_nucleus(), [15, 14, 24, 25]), Attempt("a", 3, 400)
    click_nucleus(tool, a_nucleus(), 20, Hand(0, [0]), attempt)
    assert attempt.iou == [0.5, 0.45, 0.95]
    assert tool.deleted == [7]
    assert attempt.clicks[0] == (14, 14, True)
    assert (attempt.clicks_to(0.5), attempt.clicks_to(0.8), attempt.clicks_to(0.96)) == (1, 3, 0)
    assert attempt.honoured == [1, 0, 3]  # the second mask ends left of both clicks
    assert attempt.honoured_by_network == [0, 0, 0]
    assert attempt.call_milliseconds == [12.5] * 3
    assert from_lines(to_lines([attempt, attempt])) == [attempt, attempt]


def test_it_ends_after_the_most_clicks():
    tool, attempt = Halves(a_nucleus(), [15] * 9), Attempt("a", 3, 400)
    click_nucleus(tool, a_nucleus(), 4, Hand(1.5, [0]), attempt)
    assert len(attempt.clicks) == len(set(attempt.clicks)) == 4
    assert all(a_nucleus()[y, x] for x, y, _ in attempt.clicks)


def test_error_regions():
    nucleus, mask = a_nucleus(), np.zeros((30, 30), bool)
    mask[:, :10] = True
    assert (error_region(nucleus, mask, np.ones_like(mask), positive=True) == (nucleus & ~mask)).all()
    assert (error_region(nucleus, mask, np.ones_like(mask), positive=False) == (mask & ~nucleus)).all()
    assert not error_region(nucleus, mask, np.zeros_like(mask), positive=True).any()


def test_a_call_that_was_refused_for_load_is_made_again_until_time_is_up(monkeypatch):
    waited = []
    monkeypatch.setattr(session_tool.time, "sleep", waited.append)
    refusals = [errors.Overloaded("busy", 0.5), errors.Overloaded("busy", 2.0)]

    def busy(_method, _request, _timeout):
        if refusals:
            raise refusals.pop(0)
        return "answer"

    monkeypatch.setattr(session_tool, "call", busy)
    assert session_tool.patiently(None, None, 5.0) == "answer"
    assert waited == [0.5, 2.0]
    refusals.append(errors.Overloaded("busy", 9.0))
    with pytest.raises(errors.Overloaded):
        session_tool.patiently(None, None, 5.0)

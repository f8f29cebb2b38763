"""The noise of clicks, and the record of a nucleus's clicks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nucleate import errors
from nucleate.annotator.bench.clicked_nucleus import NucleusRecord, click_nucleus, from_lines, to_lines
from nucleate.annotator.robot import session_tool
from nucleate.annotator.robot.click_noise import ClickNoise
from nucleate.annotator.robot.oracle import error_region
from nucleate.annotator.robot.session_tool import ClickResult

MASKS = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, min_side=3, max_side=9))


@settings(max_examples=200, deadline=None)
@given(MASKS.filter(lambda region: region.any()), st.floats(0, 9), st.integers(0, 99), st.data())
def test_a_jittered_click_stays_in_its_region_and_off_clicked_pixels(region, jitter, seed, data):
    pixels = [(x, y) for y, x in np.argwhere(region).tolist()]
    meant = data.draw(st.sampled_from(pixels))
    clicked = set(data.draw(st.lists(st.sampled_from(pixels), max_size=len(pixels)))) - {meant}
    landed = ClickNoise(jitter, [seed]).apply(*meant, region, clicked)
    assert region[landed[1], landed[0]]
    assert landed not in clicked
    assert landed == ClickNoise(jitter, [seed]).apply(*meant, region, clicked)
    if not jitter:
        assert landed == meant


def test_a_jittered_click_does_not_jump_to_another_part_of_the_error():
    region = np.zeros((9, 40), bool)
    region[2:7, 2:7] = region[2:7, 9:14] = True
    noise = ClickNoise(6.0, [1])
    landed = {noise.apply(4, 4, region, set()) for _ in range(200)}
    assert len(landed) > 10
    assert max(x for x, _ in landed) < 7


class Halves:
    """A tool whose mask is the nucleus cut at a column that moves right with every click, plus an answer's other figures."""

    def __init__(self, nucleus, widths):
        self.nucleus, self.widths, self.placed, self.deleted = nucleus, list(widths), [], []

    def click_with_result(self, x, y, *, positive):
        self.placed.append((x, y, positive))
        mask = self.nucleus.copy()
        mask[:, self.widths[len(self.placed) - 1] :] = False
        return ClickResult(7, mask, 0, 3, 10.0, 12.5)

    def delete(self, object_id):
        self.deleted.append(object_id)


def a_nucleus():
    nucleus = np.zeros((30, 30), bool)
    nucleus[5:25, 5:25] = True
    return nucleus


def test_a_nucleus_is_clicked_until_iou_90_and_dropped():
    tool, record = Halves(a_nucleus(), [15, 14, 24, 25]), NucleusRecord("a", 3, 400)
    click_nucleus(tool, a_nucleus(), 20, ClickNoise(0, [0]), record)
    assert record.iou == [0.5, 0.45, 0.95]
    assert tool.deleted == [7]
    assert record.clicks[0] == (14, 14, True)
    assert (record.clicks_to(0.5), record.clicks_to(0.8), record.clicks_to(0.96)) == (1, 3, 0)
    assert record.honoured == [1, 0, 3]  # the second mask ends left of both clicks
    assert record.honoured_by_network == [0, 0, 0]
    assert record.call_milliseconds == [12.5] * 3
    assert from_lines(to_lines([record, record])) == [record, record]


def test_it_ends_after_the_most_clicks():
    tool, record = Halves(a_nucleus(), [15] * 9), NucleusRecord("a", 3, 400)
    click_nucleus(tool, a_nucleus(), 4, ClickNoise(1.5, [0]), record)
    assert len(record.clicks) == len(set(record.clicks)) == 4
    assert all(a_nucleus()[y, x] for x, y, _ in record.clicks)


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
    assert session_tool.call_with_retry(None, None, 5.0) == "answer"
    assert waited == [0.5, 2.0]
    refusals.append(errors.Overloaded("busy", 9.0))
    with pytest.raises(errors.Overloaded):
        session_tool.call_with_retry(None, None, 5.0)

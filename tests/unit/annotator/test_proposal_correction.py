"""Correcting proposals to a target PQ: what is done first, and what it costs."""

from __future__ import annotations

import numpy as np
import pytest

from nucleate.annotator.robot.actions import Action, ActionKind, GainEstimator, WindowMatching, ranked_actions
from nucleate.annotator.robot.click_estimate import ExpectedWindow, expected_clicks
from nucleate.annotator.robot.click_noise import ClickNoise
from nucleate.annotator.robot.proposal_correction import ProposalCorrector
from nucleate.pathology.metrics.dice_aji_pq import score


def square(y: int, x: int, side: int, width: int | None = None) -> np.ndarray:
    mask = np.zeros((80, 80), bool)
    mask[y : y + side, x : x + (width or side)] = True
    return mask


def label(*masks: np.ndarray) -> np.ndarray:
    labels = np.zeros((80, 80), np.int32)
    for number, mask in enumerate(masks, 1):
        labels[mask] = number
    return labels


GRID = [square(y, x, 12) for y in (4, 30, 56) for x in (4, 30, 56)]


class Tool:
    """A tool that answers with `share` of the nucleus under the object's first click, rows from its top, for each click."""

    def __init__(self, oracle, objects, shares=(1.0,)):
        self.oracle, self.objects, self.shares, self.log = oracle, objects.copy(), shares, []
        self.active_id, self.steps, self.wanted = 0, [], 0

    def click(self, x, y, *, positive):
        assert not positive or self.objects[y, x] in (0, self.active_id)
        if not self.active_id:
            self.active_id = int(self.objects.max()) + 1
        if not self.wanted:
            self.wanted = int(self.oracle[y, x])
        share = self.shares[min(len(self.steps), len(self.shares) - 1)]
        rows, columns = np.nonzero(self.oracle == self.wanted)
        mask = np.zeros(self.oracle.shape, bool)
        keep = rows < rows.min() + round(share * (rows.max() - rows.min() + 1))
        mask[rows[keep], columns[keep]] = True
        mask &= np.isin(self.objects, [0, self.active_id])
        self.steps.append(mask)
        self.log.append("click")
        return mask

    def undo(self):
        self.log.append("undo")
        if not self.steps:  # nothing was clicked yet: the proposals were the last change
            self.objects[:] = 0
            return
        self.steps.pop()
        if not self.steps and not (self.objects == self.active_id).any():
            self.active_id = self.wanted = 0

    def select(self, object_id):
        assert not self.steps
        self.active_id, self.wanted = object_id, 0
        overlap = np.bincount(self.oracle[self.objects == object_id])
        if overlap[1:].any():
            self.wanted = int(overlap[1:].argmax()) + 1
        self.log.append("select")
        return self.objects == object_id

    def delete(self, object_id):
        self.objects[self.objects == object_id] = 0
        self.log.append("delete")

    def accept(self):
        mask = self.steps[-1] if self.steps else self.objects == self.active_id
        assert mask.any()
        self.objects[self.objects == self.active_id] = 0
        self.objects[mask] = self.active_id
        done, self.active_id, self.steps, self.wanted = self.active_id, 0, [], 0
        self.log.append("accept")
        return done


def correct(tool, target=0.6):
    found = ProposalCorrector(tool, tool.oracle, tool.objects, ClickNoise(0, [0])).correct(target)
    assert found.pq_after == pytest.approx(score(tool.oracle, tool.objects).pq, abs=1e-5)
    assert found.clicks == tool.log.count("click") + tool.log.count("delete") + (tool.log[:1] == ["undo"])
    return found


def test_the_pq_of_a_matching_is_that_of_the_definition():
    rng = np.random.default_rng(0)
    for _ in range(20):
        oracle, found = (label(*(square(*rng.integers(0, 66, 2), 14) for _ in range(12))) for _ in range(2))
        found[rng.random(found.shape) < 0.1] = 0
        found = np.where(rng.random() < 0.7, np.roll(oracle, 2, 1), found)
        assert WindowMatching.of(oracle, found).pq == pytest.approx(score(oracle, found).pq, abs=1e-5)
    empty = np.zeros((80, 80), np.int32)
    assert WindowMatching.of(empty, empty).pq == 1


def test_nothing_is_done_where_the_target_is_reached():
    oracle = label(*GRID)
    tool = Tool(oracle, oracle)
    assert correct(tool) == type(correct(tool))(9, 0, 1.0, 1.0)
    assert tool.log == []


def test_missed_nuclei_are_clicked_once_each_and_no_more_than_needed():
    tool = Tool(label(*GRID), label(*GRID[:3]))
    found = correct(tool)
    # 2 * (3 + k) / (9 + 3 + k) passes .6 at k = 1: 8/13.
    assert (found.clicks, found.pq_before, found.pq_after) == (1, 0.5, pytest.approx(8 / 13))
    assert tool.log == ["click", "accept"]


def test_false_objects_go_when_no_nucleus_is_missed():
    tool = Tool(label(*GRID[:4]), label(*GRID))
    found = correct(tool, 0.75)
    assert tool.log == ["delete"] * 3
    assert found.pq_after == pytest.approx(8 / 10)


def test_a_poor_object_is_corrected_rather_than_deleted():
    tool = Tool(label(*GRID[:6]), label(*GRID[:2], square(30, 4, 12, 5)))  # it has 5 of 12 columns of nucleus 4
    found = correct(tool, 0.6)
    assert tool.log == ["select", "click", "accept"]
    assert (found.clicks, found.pq_after) == (1, pytest.approx(6 / 9))


def test_a_click_that_makes_an_object_worse_is_taken_back_and_stays_spent():
    tool = Tool(label(*GRID[:4]), label(*GRID[:3], square(30, 4, 12, 9)), shares=[0.1])
    found = correct(tool, 0.99)
    assert tool.log[:4] == ["select", "click", "undo", "accept"]
    assert found.clicks == tool.log.count("click")
    assert found.pq_after == found.pq_before


def test_a_nucleus_the_tool_does_not_find_is_left_missed():
    tool = Tool(label(*GRID), label(*GRID[:1]), shares=[0.1])
    found = correct(tool)
    assert tool.log[:16] == ["click", "undo"] * 8
    assert tool.log.count("accept") == 0
    assert found.pq_after == found.pq_before
    assert found.clicks <= 8 * 15


def test_a_nearly_found_nucleus_gets_a_second_click_when_nothing_else_promises_more():
    tool = Tool(label(*GRID[:3]), label(GRID[0]), shares=[0.4, 0.9])
    found = correct(tool)
    # The other missed nucleus promises more than a second click on the first one; then that second click does.
    assert tool.log == ["click", "undo", "click", "click", "accept"]
    assert found.clicks == 3
    assert found.pq_after == pytest.approx(2 * (1 + 11 / 12) / 5)


def test_a_nucleus_under_a_finished_object_is_worth_less():
    oracle = label(*GRID[:2])
    covering = label(square(2, 2, 16, 12))
    matching = WindowMatching.of(oracle, np.where(oracle == 2, 0, covering))
    kinds = [action.kind for action in ranked_actions(matching, GainEstimator())]
    assert ActionKind.ADD in kinds
    assert ranked_actions(matching, GainEstimator())[0].gain > 0
    buried = WindowMatching.of(label(*GRID[:1]), label(square(0, 0, 80)))
    assert [action.kind for action in ranked_actions(buried, GainEstimator()) if action.kind is ActionKind.ADD] == []


def test_estimates_decide_between_adding_and_deleting():
    matching = WindowMatching.of(label(*GRID[:8]), label(*GRID[:3], square(70, 70, 8)))
    assert ranked_actions(matching, GainEstimator())[0].kind is ActionKind.ADD
    unlucky = GainEstimator([0.0] * 30 + [0.6])
    assert ranked_actions(matching, unlucky)[0] == Action(ActionKind.DELETE, 0, 4, pytest.approx(6 / 11 - 6 / 12))


def test_the_same_seed_takes_the_same_way():
    rng = np.random.default_rng(1)
    oracle = label(*GRID)
    proposals = label(*(square(*rng.integers(0, 66, 2), 10) for _ in range(7)))
    logs = []
    for _ in range(2):
        tool = Tool(oracle, proposals, shares=[0.7])
        ProposalCorrector(tool, oracle, proposals, ClickNoise(2.0, [4])).correct(0.8)
        logs.append(tool.log)
    assert logs[0] == logs[1]
    assert logs[0]


def junk(count: int) -> list[np.ndarray]:
    return [square(20 + 3 * (n // 20), 3 + 3 * (n % 20), 2) for n in range(count)]


def test_proposals_that_are_mostly_junk_are_refused_as_a_whole_for_one_click():
    tool = Tool(label(*GRID[:6]), label(GRID[0], *junk(30)))
    found = correct(tool)
    assert tool.log[0] == "undo"
    assert "delete" not in tool.log
    assert found.clicks == 1 + 3  # 2 k / (6 + k) >= .6 at k = 3


def test_some_junk_among_good_proposals_is_deleted_one_by_one():
    tool = Tool(label(*GRID), label(*GRID[:6], *junk(14)))
    correct(tool, 0.75)
    assert tool.log[0] != "undo"


def test_the_expectation_counts_the_clicks_that_are_needed():
    perfect = GainEstimator([1.0])
    missing = ExpectedWindow.of(WindowMatching.of(label(*GRID), label(*GRID[:3])))
    assert expected_clicks(missing, 0.5, perfect) == 0
    assert expected_clicks(missing, 0.6, GainEstimator([0.7])) == 2  # 2 (3 + .7 k) / (12 + k)
    false = ExpectedWindow.of(WindowMatching.of(label(*GRID[:3]), label(*GRID)))
    assert expected_clicks(false, 0.6, perfect) == 2  # 6 / (12 - k)
    poor = ExpectedWindow.of(WindowMatching.of(label(*GRID[:6]), label(*GRID[:2], square(30, 4, 12, 5))))
    assert expected_clicks(poor, 0.5, GainEstimator([0.0])) == 1
    hopeless = ExpectedWindow.of(WindowMatching.of(label(*GRID), label()))
    assert expected_clicks(hopeless, 0.6, GainEstimator([0.0])) == np.inf

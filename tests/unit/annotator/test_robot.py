from __future__ import annotations

import numpy as np
import pytest

from nucleate.annotator.robot.oracle import Match, match_instances, mean_iou, next_free_click, nucleus_labels
from nucleate.annotator.robot.routine import Robot, SessionSnapshot


def square(y: int, x: int, side: int, size: int = 64) -> np.ndarray:
    mask = np.zeros((size, size), bool)
    mask[y : y + side, x : x + side] = True
    return mask


def label(*masks: np.ndarray) -> np.ndarray:
    labels = np.zeros(masks[0].shape, np.int32)
    for number, mask in enumerate(masks, 1):
        labels[mask] = number
    return labels


class PerfectAfter:
    """A tool whose object becomes the nucleus under its first positive click after so many clicks."""

    def __init__(self, oracle, objects, clicks_needed=1):
        self.oracle, self.objects, self.needed = oracle, objects.copy(), clicks_needed
        self.clicked_ids, self.active_id, self.clicks, self.log = set(), 0, [], []
        self.active = np.zeros(oracle.shape, bool)

    def view(self):
        others = np.where(self.objects == self.active_id, 0, self.objects)
        return SessionSnapshot(others, set(self.clicked_ids), self.active_id, self.active, list(self.clicks))

    def click(self, x, y, *, positive):
        assert not positive or self.objects[y, x] in (0, self.active_id)
        assert (x, y) not in [c[:2] for c in self.clicks]
        if not self.active_id:
            self.active_id = int(self.objects.max()) + 1
        self.clicks.append((x, y, positive))
        self.log.append("click")
        wanted = next(
            (self.oracle[b, a] for a, b, p in self.clicks if p), self.oracle[self.active].max() if self.active.any() else 0
        )
        if len(self.clicks) >= self.needed:
            self.active = (self.oracle == wanted) & np.isin(self.objects, [0, self.active_id])
        elif positive:
            self.active = self.active | (square(y, x, 1))
        return self.active

    def select(self, object_id):
        assert self.active_id == 0
        self.active_id, self.active, self.clicks = object_id, self.objects == object_id, []
        self.log.append("select")
        return self.active

    def delete(self, object_id):
        self.objects[self.objects == object_id] = 0
        self.log.append("delete")
        if object_id == self.active_id:
            self.active_id, self.clicks = 0, []

    def accept(self):
        assert self.active.any()
        self.objects[self.objects == self.active_id] = 0
        self.objects[self.active] = self.active_id
        self.clicked_ids.add(self.active_id)
        done, self.active_id, self.clicks = self.active_id, 0, []
        self.log.append("accept")
        return done


def annotate(tool, oracle, target=0.8, most=5):
    steps = []
    Robot(tool, oracle, target, most, lambda done, total: steps.append((done, total))).annotate()
    return steps


def test_good_proposals_stay_wrong_ones_go_poor_ones_are_corrected_and_missed_nuclei_added():
    oracle = label(square(4, 4, 10), square(4, 30, 10), square(30, 4, 10), square(30, 30, 10))
    proposals = label(square(4, 4, 10), square(4, 30, 7), square(50, 50, 8), square(30, 4, 5))
    tool = PerfectAfter(oracle, proposals)
    steps = annotate(tool, oracle)
    # Object 3 lies on nothing, object 4 covers a quarter of its nucleus: both deleted; object 2 is corrected.
    assert tool.log.count("delete") == 2
    assert tool.log.count("select") == 1
    assert tool.log.count("click") == 3
    assert mean_iou(oracle, tool.objects) == 1
    assert steps[0] == (1, 4)
    assert steps[-1] == (4, 4)


def test_gives_up_after_the_most_clicks_and_goes_on():
    oracle = label(square(4, 4, 12), square(40, 40, 12))
    tool = PerfectAfter(oracle, np.zeros_like(oracle), clicks_needed=99)
    annotate(tool, oracle, most=3)
    assert tool.log == ["click", "click", "click", "accept"] * 2


def test_goes_on_where_an_earlier_attempt_stopped():
    oracle = label(square(4, 4, 12), square(40, 40, 12))
    tool = PerfectAfter(oracle, np.zeros_like(oracle), clicks_needed=2)
    tool.click(9, 9, positive=True)
    annotate(tool, oracle)
    assert tool.log.count("click") == 4
    assert mean_iou(oracle, tool.objects) == 1
    before = list(tool.log)
    annotate(tool, oracle)
    assert tool.log == before  # nothing left to do


def test_an_object_left_in_work_on_no_nucleus_is_deleted():
    oracle = label(square(4, 4, 12))
    tool = PerfectAfter(oracle, np.zeros_like(oracle), clicks_needed=9)
    tool.click(60, 60, positive=True)
    annotate(tool, oracle, most=1)
    assert tool.log[1] == "delete"


def test_positive_clicks_avoid_finished_neighbours_and_a_buried_nucleus_is_left():
    oracle = label(square(10, 10, 12))
    covered = np.zeros_like(oracle)
    covered[10:22, 10:20] = 1
    assert next_free_click(oracle == 1, np.zeros(oracle.shape, bool), covered == 0, set())[2]
    x, y, _ = next_free_click(oracle == 1, np.zeros(oracle.shape, bool), covered == 0, set())
    assert covered[y, x] == 0
    assert next_free_click(oracle == 1, np.zeros(oracle.shape, bool), oracle == 0, set()) is None


def test_clicks_go_to_the_deepest_error_and_never_twice_to_a_pixel():
    nucleus, mask = square(4, 4, 11), square(4, 4, 11) | square(30, 30, 21)
    free = np.ones(nucleus.shape, bool)
    assert next_free_click(nucleus, mask, free, set()) == (40, 40, False)
    assert next_free_click(nucleus, square(0, 0, 0), free, set()) == (9, 9, True)
    assert next_free_click(nucleus, square(0, 0, 0), free, {(9, 9)})[:2] != (9, 9)
    assert next_free_click(nucleus, nucleus, free, set()) is None


def test_matching_is_one_to_one_by_iou_and_slivers_are_no_nuclei():
    oracle = label(square(4, 4, 10), square(4, 15, 10), square(60, 60, 3))
    merged = label(square(4, 4, 21) & (oracle > 0))
    assert match_instances(oracle, merged) == [Match(1, 1, 0.5)]
    assert nucleus_labels(oracle) == [1, 2]
    assert match_instances(oracle, np.zeros_like(oracle)) == []
    assert mean_iou(oracle, np.zeros_like(oracle)) == 0
    assert mean_iou(oracle, label(square(4, 4, 10), square(40, 40, 5))) == pytest.approx(0.5)

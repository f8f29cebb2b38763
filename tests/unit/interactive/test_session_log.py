"""Whatever is called in whatever order: a replay of the log gives the same session, and undo and redo are exact."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from tests.unit.interactive.fake_session import WINDOW, DiskPredictor, fake_sessions

from nucleate import errors
from nucleate.interactive.clicks import Click
from nucleate.interactive.object_mask import ObjectMask
from nucleate.interactive.sessions.event_log import Event, SessionLog
from nucleate.interactive.sessions.event_payloads import mask_to_json
from nucleate.interactive.sessions.objects import Box
from nucleate.interactive.sessions.session import Session
from nucleate.interactive.sessions.state import SessionState
from nucleate.runtime.store.memory import MemoryStore

OPENING = '{"proposals": [[10, 10, 12, 9], [30, 20, 8, 8]]}'
POINTS = st.tuples(st.integers(8, 55), st.integers(4, 43))


def shown(state: SessionState) -> tuple[Any, ...]:
    """Everything a caller can see, but for the sequence and what was spent."""
    active = state.active
    return (
        {n: (a.mask.x, a.mask.y, a.mask.bits.tolist(), a.clicks) for n, a in state.objects.items()},
        state.instances_HW.tolist(),
        active
        and (active.object_id, active.mask.runs(), active.clicks, [(s.click, s.delta.tolist(), s.frame) for s in active.steps]),
    )


class Log(RuleBasedStateMachine):
    """One client on two replicas."""

    @initialize()
    def open(self) -> None:
        self.store, self.predictor = MemoryStore(), DiskPredictor()
        self.replicas = [fake_sessions(self.store, self.predictor) for _ in range(2)]
        self.sequence = self.replicas[0].open("s", OPENING).state.sequence
        self.turn = 0
        self.spent = 0
        self.past: list[tuple[Any, ...]] = []

    @property
    def session(self) -> Session:
        return self.replicas[0].get("s")

    def call(self, name: str, *arguments: Any) -> bool:
        """Make a call on the next replica; False when it was refused, which must leave no trace."""
        self.turn += 1
        replica = self.replicas[self.turn % 2]
        before = shown(self.session.state)
        try:
            answer = getattr(replica, name)("s", self.sequence, *arguments)
        except (errors.InvalidInput, errors.Precondition, errors.NotFound):
            assert self.session.state.sequence == self.sequence
            assert shown(self.session.state) == before
            return False
        self.sequence = getattr(answer, "sequence", self.sequence + 1)
        changed = shown(self.session.state) != before
        if name in ("undo", "redo"):
            self.follow(dict(before[0]), answer.outcome["change"])
        if name == "undo":
            assert shown(self.session.state) == self.past.pop()
        elif (name != "redo" and changed) or name == "redo":
            self.past.append(before)
        return True

    def follow(self, finished: dict[int, Any], change: dict[str, Any]) -> None:
        """Who only reads the change has the same finished objects as the session."""
        for object_id in change["removed"]:
            finished.pop(object_id, None)
        for each in change["changed"]:
            mask = ObjectMask.from_runs(**each["mask"])
            finished[each["object_id"]] = (mask.x, mask.y, mask.bits.tolist(), each["clicks"])
        assert finished == shown(self.session.state)[0]
        active = self.session.state.active
        assert change["object_id"] == (active.object_id if active else 0)
        assert change["mask"] == (mask_to_json(active.mask) if active else None)

    @rule(point=POINTS, positive=st.booleans())
    def click(self, point: tuple[int, int], positive: bool) -> None:
        self.call("click", Click(*point, positive))

    @rule(points=st.lists(POINTS, min_size=1, max_size=4))
    def click_many(self, points: list[tuple[int, int]]) -> None:
        self.call("click_many", [Click(*point, positive=True) for point in points])

    @rule(corner=POINTS, side=st.integers(1, 12))
    def propose(self, corner: tuple[int, int], side: int) -> None:
        labels_HW = np.zeros((60, 72), np.int32)
        labels_HW[corner[1] : corner[1] + side, corner[0] : corner[0] + side] = 7
        self.call("propose", {"n": [*corner, side]}, lambda _: (labels_HW, WINDOW))

    @rule(object_id=st.integers(1, 8))
    def select(self, object_id: int) -> None:
        self.call("select", object_id)

    @rule(object_id=st.integers(1, 8))
    def delete(self, object_id: int) -> None:
        self.call("delete", object_id)

    @rule()
    def accept(self) -> None:
        self.call("accept")

    @rule(times=st.integers(1, 4))
    def undo(self, times: int) -> None:
        for _ in range(times):
            self.call("undo")

    @rule()
    def undo_and_redo(self) -> None:
        before = shown(self.session.state)
        if self.call("undo"):
            assert self.call("redo")
            assert shown(self.session.state) == before

    @rule()
    def redo(self) -> None:
        self.call("redo")

    @invariant()
    def a_third_replica_reads_the_same(self) -> None:
        calls = self.predictor.calls
        state = self.session.state
        replay = fake_sessions(self.store, self.predictor).get("s").state
        assert shown(replay) == shown(state)
        assert (replay.sequence, replay.clicks_spent, replay.free_id) == (state.sequence, state.clicks_spent, state.free_id)
        assert self.predictor.calls == calls

    @invariant()
    def the_map_holds_every_object_and_nothing_else(self) -> None:
        state = self.session.state
        drawn = np.zeros_like(state.instances_HW)
        for object_id, found in state.objects.items():
            seen_HW = found.mask.crop(WINDOW.x, WINDOW.y, WINDOW.width, WINDOW.height)
            assert seen_HW.sum() == found.mask.area
            assert not drawn[seen_HW].any()
            drawn[seen_HW] = object_id
        assert np.array_equal(drawn, state.instances_HW)

    @invariant()
    def what_is_spent_stays_spent(self) -> None:
        assert self.session.state.clicks_spent >= self.spent
        self.spent = self.session.state.clicks_spent


Log.TestCase.settings = settings(
    max_examples=25, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)
TestLog = Log.TestCase


def test_a_hundred_calls_can_be_taken_back_and_no_more():
    sessions = fake_sessions(MemoryStore())
    sequence = sessions.open("s", "{}").state.sequence
    for n in range(120):
        sequence = sessions.click("s", sequence, Click(9 + n % 40, 6 + 15 * (n // 40), positive=True)).sequence
        if n % 40 == 39:
            sessions.accept("s", sequence)
            sequence += 1
    for _ in range(100):
        sessions.undo("s", sequence)
        sequence += 1
    with pytest.raises(errors.Precondition, match="nothing to undo"):
        sessions.undo("s", sequence)
    assert sessions.get("s").state.clicks_spent == 120


@pytest.mark.parametrize("length", [0, 1, 2, 3, 6, 7, 8, 40, 100])
def test_a_log_of_any_length_is_read_to_its_end(length):
    log = SessionLog(MemoryStore(), "s")
    for n in range(length):
        assert log.append(n, Event("undo", {"n": n}, {}))
    assert [event.arguments["n"] for event in log.follow(0)] == list(range(length))
    assert [event.arguments["n"] for event in log.follow(5)] == list(range(5, length))


def test_redo_is_gone_once_something_new_happens():
    sessions = fake_sessions(MemoryStore())
    sessions.open("s", "{}")
    sessions.click("s", 1, Click(20, 20, positive=True))
    sessions.undo("s", 2)
    sessions.click("s", 3, Click(40, 30, positive=True))
    with pytest.raises(errors.Precondition, match="nothing to redo"):
        sessions.redo("s", 4)
    assert sessions.get("s").state.active.object_id == 2  # ids are given once


def test_selecting_what_is_selected_is_nothing_to_take_back():
    sessions = fake_sessions(MemoryStore())
    sessions.open("s", OPENING)
    sessions.select("s", 1, 1)
    sessions.select("s", 2, 1)
    assert sessions.undo("s", 3).outcome["change"]["object_id"] == 0
    with pytest.raises(errors.Precondition, match="nothing to undo"):
        sessions.undo("s", 4)


def test_an_undo_tells_what_it_changed():
    sessions = fake_sessions(MemoryStore())
    sessions.open("s", OPENING)
    first = sessions.click("s", 1, Click(50, 40, positive=True)).outcome
    sessions.accept("s", 2)
    change = sessions.undo("s", 3).outcome["change"]
    assert (change["object_id"], change["mask"], change["changed"], change["removed"]) == (3, first["mask"], [], [3])
    assert change["clicks"] == [{"x": 50, "y": 40, "positive": True}]
    change = sessions.undo("s", 4).outcome["change"]
    assert (change["object_id"], change["mask"], change["clicks"], change["removed"]) == (0, None, [], [3])
    sessions.delete("s", 5, 1)
    change = sessions.undo("s", 6).outcome["change"]
    assert [(each["object_id"], each["clicks"]) for each in change["changed"]] == [(1, 0)]
    sessions.select("s", 7, 2)
    change = sessions.undo("s", 8).outcome["change"]
    assert [each["object_id"] for each in change["changed"]] == [2]
    change = sessions.redo("s", 9).outcome["change"]
    assert (change["object_id"], change["changed"], change["removed"]) == (2, [], [])


def test_the_same_click_again_changes_nothing_and_its_opposite_is_refused():
    predictor = DiskPredictor()
    sessions = fake_sessions(MemoryStore(), predictor)
    sessions.open("s", "{}")
    sessions.click("s", 1, Click(20, 20, positive=True))
    second = sessions.click("s", 2, Click(26, 20, positive=True))
    again = sessions.click("s", 3, Click(20, 20, positive=True))
    assert (again.sequence, again.outcome["mask"], predictor.calls) == (3, second.outcome["mask"], 2)
    with pytest.raises(errors.InvalidInput, match="contradicts the positive click on that pixel: undo it first"):
        sessions.click("s", 3, Click(20, 20, positive=False))
    assert sessions.get("s").state.clicks_spent == 2
    with contextlib.suppress(errors.SessionConflict):
        sessions.click("s", 9, Click(20, 20, positive=True))
        pytest.fail("a stale call was answered")


def test_the_network_is_told_every_mask_that_a_click_corrected_also_by_another_replica():
    store, predictor = MemoryStore(), DiskPredictor()
    replicas = [fake_sessions(store, predictor) for _ in range(2)]
    replicas[0].open("s", OPENING)
    replicas[0].select("s", 1, 1)
    seen = [ObjectMask(10, 10, np.ones((9, 12), bool))]
    for n, click in enumerate([Click(24, 14, positive=True), Click(9, 9, positive=True), Click(22, 18, positive=False)]):
        replica = replicas[n % 2]
        replica.click("s", 2 + n, click)
        assert [mask_to_json(mask) for mask in predictor.previous_masks] == [mask_to_json(mask) for mask in seen]
        seen.append(replica.get("s").state.active.mask)
    assert len({mask.area for mask in seen}) == 4


def test_a_batch_shares_contested_pixels_by_probability():
    sessions = fake_sessions(MemoryStore())
    sessions.open("s", "{}")
    clicks = [Click(20, 20, positive=True), Click(26, 20, positive=True), Click(20, 20, positive=True)]
    first, second, third = sessions.click_many("s", 1, clicks).outcome["objects"]
    assert third == {"object_id": 0, "refused": "click (20, 20) is on the pixel of an earlier click of this call"}
    state = sessions.get("s").state
    instances_HW = state.instances_HW
    assert instances_HW[20 - WINDOW.y, 22 - WINDOW.x] == first["object_id"] == 1
    assert instances_HW[20 - WINDOW.y, 24 - WINDOW.x] == second["object_id"] == 2
    assert instances_HW[20 - WINDOW.y, 23 - WINDOW.x] == 1  # as near to both: the first
    assert state.clicks_spent == 2


@pytest.mark.parametrize(
    ("box", "taken"),
    [
        ((10, 10, 12, 9), False),  # the same object again
        ((10, 10, 12, 17), False),  # most of it is taken
        ((10, 14, 12, 20), True),
        ((22, 10, 3, 3), True),  # small, but all there ever was of it
        ((21, 10, 4, 3), False),  # of 12 pixels 9 are left
    ],
)
def test_a_proposal_is_cut_to_free_pixels_or_left_out(box, taken):
    sessions = fake_sessions(MemoryStore())
    sessions.open("s", OPENING)
    x, y, width, height = box
    labels_HW = np.zeros((60, 72), np.int32)
    labels_HW[y : y + height, x : x + width] = 2**31 - 1
    before = sessions.get("s").state.instances_HW.copy()
    found = sessions.propose("s", 1, {"box": list(box)}, lambda _: (labels_HW, Box(8, 4, 48, 40))).outcome["objects"]
    assert len(found) == taken
    after = sessions.get("s").state.instances_HW
    assert np.array_equal(after[before > 0], before[before > 0])
    inside_HW = labels_HW[4:44, 8:56] > 0
    assert ((after == 3) == (inside_HW & (before == 0) & taken)).all()

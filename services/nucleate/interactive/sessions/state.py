"""What a session's log amounts to: accepted objects, the object in work with its clicks, and what has been spent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from nucleate.interactive.clicks import Mask
from nucleate.interactive.object_mask import ObjectMask
from nucleate.interactive.prediction.result import Blocked
from nucleate.interactive.sessions import event_log
from nucleate.interactive.sessions.event_log import Event
from nucleate.interactive.sessions.event_payloads import step_of
from nucleate.interactive.sessions.objects import Accepted, Box, Work
from nucleate.interactive.sessions.undo_history import History, Transition


class SessionState:
    """The state after `sequence` events; `apply` is the only way it changes, in the live session and in a replay alike.

    Finished objects are disjoint, and `canvas_HW` is their map of the window. Ids are given once: an undo does not free them.
    """

    def __init__(self, window: Box, proposals: Iterable[ObjectMask] = ()) -> None:
        self.window = window
        self.objects: dict[int, Accepted] = {}
        self.canvas_HW = np.zeros((window.height, window.width), np.int32)
        self.work: Work | None = None
        self.history = History()
        self.sequence = 0
        self.opened_at = self.touched_at = 0.0
        self.clicks_spent = 0
        self.closing: Event | None = None
        self.free_id = 1
        self._move(Transition(None, None, {}, {n: Accepted(mask, 0) for n, mask in enumerate(proposals, 1)}))

    @property
    def next_object_id(self) -> int:
        """Id of the object in work, or the one that the next click starts."""
        return self.work.object_id if self.work else self.free_id

    def owner(self, x: int, y: int) -> int:
        """Finished object at an image pixel, the one in work as it was when it was selected; 0 = none."""
        return int(self.canvas_HW[y - self.window.y, x - self.window.x])

    def blocked(self, own: int = 0) -> Blocked:
        """Where an object may not go: beyond the window and onto finished objects other than `own`, as they are when asked."""
        w = self.window

        def blocked(x: int, y: int, width: int, height: int) -> Mask:
            taken_HW = np.ones((height, width), bool)
            rows = slice(max(y, w.y), min(y + height, w.y + w.height))
            columns = slice(max(x, w.x), min(x + width, w.x + w.width))
            if rows.start < rows.stop and columns.start < columns.stop:
                seen_HW = self.canvas_HW[rows.start - w.y : rows.stop - w.y, columns.start - w.x : columns.stop - w.x]
                taken_HW[rows.start - y : rows.stop - y, columns.start - x : columns.stop - x] = (seen_HW > 0) & (
                    seen_HW != own
                )
            return taken_HW

        return blocked

    def apply(self, event: Event) -> None:
        """Move on by one event."""
        match event.kind:
            case event_log.OPEN:
                self.opened_at = event.time
            case event_log.UNDO:
                self._move(self.history.back())
            case event_log.REDO:
                self._move(self.history.forth())
            case event_log.CLOSE:
                self.closing = event
            case _:
                transition = self._transition(event)
                if transition.changes:
                    self.history.add(transition)
                self._move(transition)
        self.sequence += 1
        self.touched_at = event.time

    def _move(self, transition: Transition) -> None:
        for object_id, accepted in transition.after.items():
            old = self.objects.pop(object_id, None)
            if old is not None:
                self._paint(old.mask, 0)
            if accepted is not None:
                self.objects[object_id] = accepted
                self._paint(accepted.mask, object_id)
        self.work = transition.work_after
        self.free_id = max(self.free_id, 1 + max(transition.touched, default=0))

    def _paint(self, mask: ObjectMask, value: int) -> None:
        """Set the mask's pixels on the canvas; masks of finished objects lie in the window."""
        height, width = mask.bits.shape
        left, top = mask.x - self.window.x, mask.y - self.window.y
        self.canvas_HW[top : top + height, left : left + width][mask.bits] = value

    def _transition(self, event: Event) -> Transition:
        match event.kind:
            case event_log.CLICK:
                return self._click(event.arguments, event.outcome)
            case event_log.SELECT:
                object_id = int(event.arguments["object_id"])
                if self.work and self.work.object_id == object_id:  # selected already, and not clicked since
                    return Transition(self.work, self.work)
                found = self.objects[object_id]
                return Transition(self.work, Work(object_id, found.mask, found.clicks))
            case event_log.DELETE:
                return self._delete(int(event.arguments["object_id"]))
            case event_log.ACCEPT:
                return self._accept()
            case _:
                return self._add(event.outcome["objects"])

    def _click(self, arguments: Mapping[str, Any], outcome: Mapping[str, Any]) -> Transition:
        work = self.work or Work(self.free_id, ObjectMask.empty(), 0)
        self.clicks_spent += 1
        return Transition(self.work, replace(work, steps=(*work.steps, step_of(arguments, outcome))))

    def _delete(self, object_id: int) -> Transition:
        gone = self.work and self.work.object_id == object_id
        self.clicks_spent += 1
        before = {object_id: found} if (found := self.objects.get(object_id)) else {}
        return Transition(self.work, None if gone else self.work, before, dict.fromkeys(before))

    def _accept(self) -> Transition:
        assert self.work is not None
        object_id = self.work.object_id
        after = {object_id: Accepted(self.work.mask, self.work.clicks)}
        return Transition(self.work, None, {object_id: self.objects.get(object_id)}, after)

    def _add(self, found: Iterable[Mapping[str, Any]]) -> Transition:
        """Finished objects of a batch of clicks, which count, or of proposals, which do not; refused ones have id 0."""
        taken = [each for each in found if each["object_id"]]
        after = {each["object_id"]: Accepted(ObjectMask.from_runs(**each["mask"]), each["clicks"]) for each in taken}
        self.clicks_spent += sum(accepted.clicks for accepted in after.values())
        return Transition(self.work, None, dict.fromkeys(after), after)

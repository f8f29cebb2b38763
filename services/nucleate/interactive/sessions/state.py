"""The state that replaying a session's log gives: accepted objects, the active object with its clicks, clicks spent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from nucleate.interactive.clicks import Mask
from nucleate.interactive.cropping import crop
from nucleate.interactive.object_mask import ObjectMask
from nucleate.interactive.prediction.result import ExclusionMask
from nucleate.interactive.sessions import event_log
from nucleate.interactive.sessions.event_log import Event
from nucleate.interactive.sessions.event_payloads import step_from_event
from nucleate.interactive.sessions.objects import AcceptedObject, ActiveObject, Box
from nucleate.interactive.sessions.undo_history import History, Transition

_OUTSIDE = -1  # label beyond the window


class SessionState:
    """The state after `sequence` events; `apply` is the only way it changes, in the cached session and in a replay alike.

    Finished objects are disjoint, and `instances_HW` is their map of the window. Ids are given once: no undo frees them.
    """

    def __init__(self, window: Box, proposals: Iterable[ObjectMask] = ()) -> None:
        self.window = window
        self.objects: dict[int, AcceptedObject] = {}
        self.instances_HW = np.zeros((window.height, window.width), np.int32)
        self.active: ActiveObject | None = None
        self.history = History()
        self.sequence = 0
        self.opened_at = self.modified_at = 0.0
        self.clicks_spent = 0
        self.closing: Event | None = None
        self.free_id = 1
        self._apply(Transition(None, None, {}, {n: AcceptedObject(mask, 0) for n, mask in enumerate(proposals, 1)}))

    @property
    def next_object_id(self) -> int:
        """Id of the active object, or the one that the next click starts."""
        return self.active.object_id if self.active else self.free_id

    def object_at(self, x: int, y: int) -> int:
        """Finished object at an image pixel, the active one as it was when it was selected; 0 = none."""
        return int(self.instances_HW[y - self.window.y, x - self.window.x])

    def excluded(self, own: int = 0) -> ExclusionMask:
        """Where an object may not go: beyond the window and onto finished objects other than `own`, as they are when asked."""
        w = self.window

        def excluded(x: int, y: int, width: int, height: int) -> Mask:
            labels_HW = crop(self.instances_HW, x, y, width, height, padding=_OUTSIDE, origin=(w.x, w.y))
            return np.asarray((labels_HW != 0) & (labels_HW != own), bool)

        return excluded

    def apply(self, event: Event) -> None:
        """Move on by one event."""
        match event.kind:
            case event_log.OPEN:
                self.opened_at = event.time
            case event_log.UNDO:
                self._apply(self.history.undo())
            case event_log.REDO:
                self._apply(self.history.redo())
            case event_log.CLOSE:
                self.closing = event
            case _:
                transition = self._transition(event)
                if transition.has_effect:
                    self.history.push(transition)
                self._apply(transition)
        self.sequence += 1
        self.modified_at = event.time

    def _apply(self, transition: Transition) -> None:
        for object_id, accepted in transition.after.items():
            old = self.objects.pop(object_id, None)
            if old is not None:
                self._draw(old.mask, 0)
            if accepted is not None:
                self.objects[object_id] = accepted
                self._draw(accepted.mask, object_id)
        self.active = transition.active_after
        self.free_id = max(self.free_id, 1 + max(transition.object_ids, default=0))

    def _draw(self, mask: ObjectMask, value: int) -> None:
        """Set the mask's pixels in the instance map; masks of finished objects lie in the window."""
        height, width = mask.bits.shape
        left, top = mask.x - self.window.x, mask.y - self.window.y
        self.instances_HW[top : top + height, left : left + width][mask.bits] = value

    def _transition(self, event: Event) -> Transition:
        match event.kind:
            case event_log.CLICK:
                return self._click(event.arguments, event.outcome)
            case event_log.SELECT:
                object_id = int(event.arguments["object_id"])
                if self.active and self.active.object_id == object_id:  # selected already, and not clicked since
                    return Transition(self.active, self.active)
                found = self.objects[object_id]
                return Transition(self.active, ActiveObject(object_id, found.mask, found.clicks))
            case event_log.DELETE:
                return self._delete(int(event.arguments["object_id"]))
            case event_log.ACCEPT:
                return self._accept()
            case _:
                return self._add(event.outcome["objects"])

    def _click(self, arguments: Mapping[str, Any], outcome: Mapping[str, Any]) -> Transition:
        active = self.active or ActiveObject(self.free_id, ObjectMask.empty(), 0)
        self.clicks_spent += 1
        return Transition(self.active, replace(active, steps=(*active.steps, step_from_event(arguments, outcome))))

    def _delete(self, object_id: int) -> Transition:
        gone = self.active and self.active.object_id == object_id
        self.clicks_spent += 1
        before = {object_id: found} if (found := self.objects.get(object_id)) else {}
        return Transition(self.active, None if gone else self.active, before, dict.fromkeys(before))

    def _accept(self) -> Transition:
        assert self.active is not None
        object_id = self.active.object_id
        after = {object_id: AcceptedObject(self.active.mask, self.active.clicks)}
        return Transition(self.active, None, {object_id: self.objects.get(object_id)}, after)

    def _add(self, found: Iterable[Mapping[str, Any]]) -> Transition:
        """Finished objects of a batch of clicks, which count, or of proposals, which do not; refused ones have id 0."""
        taken = [each for each in found if each["object_id"]]
        after = {each["object_id"]: AcceptedObject(ObjectMask.from_runs(**each["mask"]), each["clicks"]) for each in taken}
        self.clicks_spent += sum(accepted.clicks for accepted in after.values())
        return Transition(self.active, None, dict.fromkeys(after), after)

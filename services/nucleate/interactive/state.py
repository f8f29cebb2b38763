"""What a session's log amounts to: accepted objects, the object in work with its clicks, and what has been spent."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from nucleate.interactive import events
from nucleate.interactive.clicks import Click, Mask
from nucleate.interactive.events import Event
from nucleate.interactive.masks import ObjectMask
from nucleate.interactive.predictor import Blocked, Prediction

SLIVER = 10  # px: a proposal with less than this inside the window is not taken, unless it lies inside completely


@dataclass(frozen=True)
class Box:
    """A rectangle in image pixels."""

    x: int
    y: int
    width: int
    height: int

    def holds(self, x: int, y: int) -> bool:
        """Whether the pixel lies in it."""
        return self.x <= x < self.x + self.width and self.y <= y < self.y + self.height


@dataclass(frozen=True, eq=False)
class Step:
    """One click with the mask after it and the scale and bias changes behind that mask."""

    click: Click
    mask: ObjectMask
    delta: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Accepted:
    """A finished object, or a proposal nobody has touched (`clicks` = 0)."""

    mask: ObjectMask
    clicks: int


@dataclass(eq=False)
class Work:
    """The object in work; `original` is what it was when it was selected, empty for a new one."""

    object_id: int
    original: ObjectMask
    original_clicks: int
    steps: list[Step] = field(default_factory=list)

    @property
    def mask(self) -> ObjectMask:
        """The mask as it stands."""
        return self.steps[-1].mask if self.steps else self.original


def mask_to_json(mask: ObjectMask) -> dict[str, Any]:
    """Box and runs."""
    height, width = mask.bits.shape
    return {"x": mask.x, "y": mask.y, "width": width, "height": height, "runs": mask.runs()}


def click_outcome(object_id: int, prediction: Prediction, milliseconds: float) -> dict[str, Any]:
    """Outcome of a click event."""
    return {
        "object_id": object_id,
        "mask": mask_to_json(prediction.mask),
        "confidence": prediction.confidence,
        "clicks_obeyed": prediction.clicks_obeyed,
        "evaluations": prediction.evaluations,
        "milliseconds": milliseconds,
        "delta": base64.b64encode(prediction.delta.astype("<f4").tobytes()).decode(),
    }


class SessionState:
    """The state after `sequence` events; `apply` is the only way it changes, in the live session and in a replay alike."""

    def __init__(self, window: Box, proposals_HW: NDArray[np.int32] | None) -> None:
        """`proposals_HW` is a map of the whole image: nuclei are cut to the window, slivers under 10 px left out.

        A nucleus cut by the window's edge stays an object, as its pixels in the accepted map would be wrong background.
        """
        self.window = window
        self.objects: dict[int, Accepted] = {}
        self.canvas_HW = np.zeros((window.height, window.width), np.int32)
        self.work: Work | None = None
        self.sequence = 0
        self.opened_at = 0.0
        self.clicks_spent = 0
        self.closing: Event | None = None
        self._next_id = 1
        if proposals_HW is not None:
            self._take_proposals(proposals_HW)

    def _take_proposals(self, proposals_HW: NDArray[np.int32]) -> None:
        w = self.window
        seen_HW = proposals_HW[w.y : w.y + w.height, w.x : w.x + w.width]
        whole_areas = np.bincount(proposals_HW.ravel())
        for label, box in enumerate(ndimage.find_objects(seen_HW), 1):
            if box is None:
                continue
            mask_HW = seen_HW[box] == label
            area = int(np.count_nonzero(mask_HW))
            if area >= min(SLIVER, int(whole_areas[label])):
                mask = ObjectMask.cut(mask_HW, w.x + box[1].start, w.y + box[0].start)
                self._put(self._next_id, Accepted(mask, 0))
                self._next_id += 1

    def _put(self, object_id: int, accepted: Accepted) -> None:
        self._erase(object_id)
        self.objects[object_id] = accepted
        w = self.window
        self.canvas_HW[accepted.mask.within(w.x, w.y, w.width, w.height)] = object_id

    def _erase(self, object_id: int) -> None:
        old = self.objects.pop(object_id, None)
        if old is not None:
            self.canvas_HW[self.canvas_HW == object_id] = 0

    @property
    def next_object_id(self) -> int:
        """Id of the object in work, or the one that the next click starts."""
        return self.work.object_id if self.work else self._next_id

    def owner(self, x: int, y: int) -> int:
        """Finished object at an image pixel, other than the one in work; 0 = none."""
        owner = int(self.canvas_HW[y - self.window.y, x - self.window.x])
        return 0 if self.work and owner == self.work.object_id else owner

    def blocked(self) -> Blocked:
        """Where the object in work may not go: beyond the window and onto other finished objects."""
        w, own = self.window, self.next_object_id

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
            case events.OPEN:
                self.opened_at = event.time
            case events.CLICK:
                self._click(event.arguments, event.outcome)
            case events.UNDO:
                self._undo()
            case events.SELECT:
                self._select(int(event.arguments["object_id"]))
            case events.DELETE:
                self._delete(int(event.arguments["object_id"]))
            case events.ACCEPT:
                self._accept()
            case _:
                self.closing = event
        self.sequence += 1

    def _click(self, arguments: Mapping[str, Any], outcome: Mapping[str, Any]) -> None:
        if self.work is None:
            self.work = Work(self._next_id, ObjectMask.empty(), 0)
            self._next_id += 1
        delta = np.frombuffer(base64.b64decode(outcome["delta"]), "<f4").astype(np.float32)
        self.work.steps.append(Step(Click(**arguments), ObjectMask.from_runs(**outcome["mask"]), delta))
        self.clicks_spent += 1

    def _undo(self) -> None:
        assert self.work is not None
        self.work.steps.pop()
        if not self.work.steps and self.work.object_id not in self.objects:
            self.work = None

    def _select(self, object_id: int) -> None:
        found = self.objects[object_id]
        self.work = Work(object_id, found.mask, found.clicks)

    def _delete(self, object_id: int) -> None:
        if self.work and self.work.object_id == object_id:
            self.work = None
        self._erase(object_id)
        self.clicks_spent += 1

    def _accept(self) -> None:
        assert self.work is not None
        self._put(self.work.object_id, Accepted(self.work.mask, self.work.original_clicks + len(self.work.steps)))
        self.work = None

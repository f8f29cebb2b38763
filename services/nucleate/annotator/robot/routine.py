"""The robot's routine for one window: delete, correct, add, accept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from nucleate.annotator.robot.oracle import InstanceMap, Mask, match_instances, next_free_click, nucleus_labels
from nucleate.pathology.instances.mask_iou import intersection_over_union

MIN_REUSE_IOU = 0.4  # a proposal of less IoU with its nucleus is deleted and the nucleus clicked from scratch


@dataclass(eq=False)
class SessionSnapshot:
    """A session as the robot sees it, in window pixels.

    `objects` holds the id of every finished object, `clicked_ids` the ids that clicks were spent on; `active` is the mask of
    the active object `active_id` (0 = none), `clicks` its clicks (x, y, positive).
    """

    objects: InstanceMap
    clicked_ids: set[int]
    active_id: int
    active: Mask
    clicks: list[tuple[int, int, bool]] = field(default_factory=list)


class AnnotationTool(Protocol):
    """The annotation tool; coordinates are window pixels."""

    def view(self) -> SessionSnapshot:
        """The session as it stands."""

    def click(self, x: int, y: int, *, positive: bool) -> Mask:
        """Click; returns the object's mask."""

    def select(self, object_id: int) -> Mask:
        """Take an object back into work; returns its mask."""

    def delete(self, object_id: int) -> None:
        """Drop an object."""

    def accept(self) -> int:
        """Finish the object in work; returns its id."""


class Robot:
    """Annotates one window until every nucleus is accepted. It reads all it knows from the session, so it can be restarted."""

    def __init__(
        self,
        tool: AnnotationTool,
        oracle_HW: InstanceMap,
        target_iou: float,
        max_clicks: int,
        progress: Callable[[int, int], None],
    ) -> None:
        self._tool, self._oracle_HW, self._target, self._max_clicks = tool, oracle_HW, target_iou, max_clicks
        self._progress = progress

    def annotate(self) -> None:
        """Work through the window."""
        nuclei = nucleus_labels(self._oracle_HW)
        view = self._tool.view()
        if view.active_id:
            self._resume(view)
            view = self._tool.view()
        self._objects_HW = view.objects
        self._delete_wrong(view.clicked_ids)
        matches = {m.nucleus: m for m in match_instances(self._oracle_HW, self._objects_HW)}
        done = {m.nucleus for m in matches.values() if m.iou >= self._target or m.object_id in view.clicked_ids}
        poor = [n for n in nuclei if n in matches and n not in done]
        missed = [n for n in nuclei if n not in matches]
        self._progress(len(done), len(nuclei))
        # Poor proposals first: what they wrongly cover is then free for the nuclei that were missed.
        for count, nucleus in enumerate(poor + missed, len(done) + 1):
            found = matches.get(nucleus)
            own_id = found.object_id if found else 0
            self._annotate_nucleus(nucleus, self._tool.select(own_id) if own_id else None, own_id)
            self._progress(count, len(nuclei))

    def _delete_wrong(self, clicked_ids: set[int]) -> None:
        """Delete proposals that are no nucleus, or so bad that starting again is cheaper."""
        least = min(MIN_REUSE_IOU, self._target)
        useful = {m.object_id for m in match_instances(self._oracle_HW, self._objects_HW) if m.iou >= least}
        for object_id in np.unique(self._objects_HW).tolist():
            if object_id and object_id not in useful and object_id not in clicked_ids:
                self._tool.delete(object_id)
                self._objects_HW[self._objects_HW == object_id] = 0

    def _resume(self, view: SessionSnapshot) -> None:
        """Go on with the object that an earlier attempt had in work: the nucleus under its clicks or its mask."""
        self._objects_HW = view.objects
        under = [int(self._oracle_HW[y, x]) for x, y, positive in view.clicks if positive]
        under += np.bincount(self._oracle_HW[view.active]).argsort()[::-1].tolist() if view.active.any() else []
        nucleus = next((label for label in under if label), 0)
        if nucleus:
            self._annotate_nucleus(nucleus, view.active, view.active_id, view.clicks)
        else:
            self._tool.delete(view.active_id)

    def _annotate_nucleus(
        self, nucleus: int, mask_HW: Mask | None, own_id: int, clicks: list[tuple[int, int, bool]] | None = None
    ) -> None:
        """Click until the target IoU or the most clicks, then accept; a nucleus with no pixel left to click is given up."""
        wanted_HW = self._oracle_HW == nucleus
        free_HW = (self._objects_HW == 0) | (self._objects_HW == own_id)
        clicked = {(x, y) for x, y, _ in clicks or []}
        mask_HW = np.zeros_like(wanted_HW) if mask_HW is None else mask_HW
        while len(clicked) < self._max_clicks and intersection_over_union(mask_HW, wanted_HW) < self._target:
            click = next_free_click(wanted_HW, mask_HW, free_HW, clicked)
            if click is None or (not click[2] and not mask_HW.any()):
                break
            x, y, positive = click
            mask_HW = self._tool.click(x, y, positive=positive)
            clicked.add((x, y))
        if mask_HW.any():
            object_id = self._tool.accept()
            self._objects_HW[self._objects_HW == object_id] = 0
            self._objects_HW[mask_HW] = object_id
        elif clicked or own_id:
            self._tool.delete(self._tool.view().active_id)
            self._objects_HW[self._objects_HW == own_id] = 0

"""The robot's routine for correcting proposals until a window's PQ is reached: greedily, by the largest expected gain.

It does what a sensible person could do: refuses proposals that are mostly junk, sees which nuclei are missed and which objects
are wrong, estimates how much clicks bring, takes back a click that made things worse (the click stays spent), and does not try
the same thing for ever.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from nucleate.annotator.robot.actions import MATCH_IOU, Action, ActionKind, GainEstimator, WindowMatching, ranked_actions
from nucleate.annotator.robot.click_estimate import cheaper_from_scratch
from nucleate.annotator.robot.click_noise import ClickNoise
from nucleate.annotator.robot.oracle import InstanceMap, Mask, error_region, next_free_click
from nucleate.pathology.instances.mask_iou import intersection_over_union

MAX_ATTEMPTS = 5  # clicks on a nucleus in one go, and corrections of an object in all
MIN_IOU_GAIN = 0.02  # IoU: a correction that brings less is not followed by another


class CorrectionTool(Protocol):
    """The part of the annotation tool that this needs; coordinates are window pixels."""

    def click(self, x: int, y: int, *, positive: bool) -> Mask:
        """Click; returns the object's mask."""

    def undo(self) -> None:
        """Take back the last call: a click, or the proposals."""

    def select(self, object_id: int) -> Mask:
        """Take an object back into work; returns its mask."""

    def delete(self, object_id: int) -> None:
        """Drop an object."""

    def accept(self) -> int:
        """Finish the object in work; returns its id."""


@dataclass(frozen=True)
class CorrectionResult:
    """What it took. Deletions and refusing the proposals count as clicks, and so do clicks that were taken back."""

    nuclei: int
    clicks: int
    pq_before: float
    pq_after: float


class ProposalCorrector:
    """Corrects one window with nuclei `oracle_HW`; `objects_HW` has the ids of the proposals, the session's last change."""

    def __init__(self, tool: CorrectionTool, oracle_HW: InstanceMap, objects_HW: InstanceMap, noise: ClickNoise) -> None:
        self._tool, self._noise, self._oracle_HW = tool, noise, oracle_HW
        self._objects_HW = objects_HW.copy()
        self._estimator = GainEstimator()
        self._corrections: dict[int, int] = {}  # clicks on each object that was corrected; MAX_ATTEMPTS = leave it
        self._clicks = 0

    def correct(self, target_pq: float, checked: Callable[[], None] = lambda: None) -> CorrectionResult:
        """Work until the PQ is reached or nothing is left to try; `checked` is called before every action."""
        matching = WindowMatching.of(self._oracle_HW, self._objects_HW)
        before = matching.pq
        if before < target_pq and cheaper_from_scratch(matching, target_pq):
            matching = self._refuse_proposals()
        while matching.pq < target_pq and (candidates := self._candidate_actions(matching)):
            checked()
            self._take(candidates[0], matching, candidates[1].gain if len(candidates) > 1 else 0.0)
            matching = WindowMatching.of(self._oracle_HW, self._objects_HW)
        return CorrectionResult(len(matching.nuclei), self._clicks, before, matching.pq)

    def _refuse_proposals(self) -> WindowMatching:
        """Take the proposals back as a whole."""
        self._tool.undo()
        self._objects_HW[:] = 0
        self._clicks += 1
        return WindowMatching.of(self._oracle_HW, self._objects_HW)

    def _candidate_actions(self, matching: WindowMatching) -> list[Action]:
        """What is worth a click and was not tried too often, the best first."""
        return [
            action
            for action in ranked_actions(matching, self._estimator)
            if not (action.kind is ActionKind.CORRECT and self._corrections.get(action.object_id, 0) >= MAX_ATTEMPTS)
            and not (action.kind is ActionKind.ADD and self._estimator.failed.get(action.nucleus, (0, 0.0))[0] >= MAX_ATTEMPTS)
        ]

    def _take(self, action: Action, matching: WindowMatching, alternative: float) -> None:
        match action.kind:
            case ActionKind.DELETE:
                self._delete(action.object_id)
            case ActionKind.ADD:
                self._add(action.nucleus, matching, alternative)
            case ActionKind.CORRECT:
                self._correct(action.nucleus, action.object_id)

    def _delete(self, object_id: int) -> None:
        self._tool.delete(object_id)
        self._objects_HW[self._objects_HW == object_id] = 0
        self._clicks += 1

    def _add(self, nucleus: int, matching: WindowMatching, alternative: float) -> None:
        """Click a missed nucleus until it is found, or until another click promises less than the best `alternative`.

        One that is not found is taken back: a bad object costs PQ.
        """
        wanted_HW, clicked, reached = self._oracle_HW == nucleus, set[tuple[int, int]](), 0.0
        mask_HW, best = np.zeros_like(wanted_HW), 0.0
        before, _ = self._estimator.failed.get(nucleus, (0, 0.0))
        while reached <= MATCH_IOU and len(clicked) < MAX_ATTEMPTS:
            iou_gain = self._estimator.rescued(reached)
            if len(clicked) > before and matching.pq_with(iou_gain, objects=1) - matching.pq <= alternative:
                break
            after_HW = self._click(wanted_HW, mask_HW, clicked, own_id=0)
            if after_HW is None:
                break
            after = intersection_over_union(after_HW, wanted_HW)
            if len(clicked) == 1:
                self._estimator.record_added(after)
            else:
                self._estimator.record_corrected(reached, after)
            mask_HW, reached, best = after_HW, after, max(best, after)
        if reached > MATCH_IOU:
            self._accept(mask_HW)
        else:
            # Counted even where no pixel could be clicked, so that it is not tried for ever.
            self._estimator.failed[nucleus] = max(len(clicked), before + 1), best
            for _ in clicked:
                self._tool.undo()

    def _correct(self, nucleus: int, object_id: int) -> None:
        """Click where an object is wrong; a click that makes it worse is taken back and not tried again."""
        wanted_HW = self._oracle_HW == nucleus
        mask_HW = self._tool.select(object_id)
        before = intersection_over_union(mask_HW, wanted_HW)
        after_HW = self._click(wanted_HW, mask_HW, set(), own_id=object_id)
        after = before if after_HW is None else intersection_over_union(after_HW, wanted_HW)
        improved = after >= before + MIN_IOU_GAIN
        self._corrections[object_id] = self._corrections.get(object_id, 0) + 1 if improved else MAX_ATTEMPTS
        if after_HW is not None:
            self._estimator.record_corrected(before, after)
            if after > before:
                mask_HW = after_HW
            else:
                self._tool.undo()
        self._accept(mask_HW)

    def _click(self, wanted_HW: Mask, mask_HW: Mask, clicked: set[tuple[int, int]], *, own_id: int) -> Mask | None:
        """Place the next click of the object in work; None where there is nothing to click."""
        free_HW = (self._objects_HW == 0) | (self._objects_HW == own_id) if own_id else self._objects_HW == 0
        click = next_free_click(wanted_HW, mask_HW, free_HW, clicked)
        if click is None or not (click[2] or mask_HW.any()):
            return None
        region_HW = error_region(wanted_HW, mask_HW, free_HW, positive=click[2])
        x, y = self._noise.apply(click[0], click[1], region_HW, clicked)
        clicked.add((x, y))
        self._clicks += 1
        return self._tool.click(x, y, positive=click[2])

    def _accept(self, mask_HW: Mask) -> None:
        object_id = self._tool.accept()
        self._objects_HW[self._objects_HW == object_id] = 0
        self._objects_HW[mask_HW] = object_id

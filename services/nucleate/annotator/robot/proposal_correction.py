"""The robot's routine for correcting proposals until a window's PQ is reached: always the click that is likely to help most.

It does what a sensible person could do: refuses proposals that are mostly junk, sees which nuclei are missed and which objects
are wrong, learns how well the tool answers, takes back a click that made things worse (the click stays spent), and does not try
the same thing for ever.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from nucleate.annotator.robot.actions import MATCH, Action, Experience, Kind, Standing, actions
from nucleate.annotator.robot.click_estimate import worth_refusing
from nucleate.annotator.robot.click_noise import Hand
from nucleate.annotator.robot.oracle import Map, Mask, error_region, iou, next_click

TRIES = 5  # clicks on a nucleus in one go, and corrections of an object in all
PROGRESS = 0.02  # IoU: a correction that brings less is not followed by another


class CorrectingTool(Protocol):
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
class Correction:
    """What it took. Deletions and refusing the proposals count as clicks, and so do clicks that were taken back."""

    nuclei: int
    clicks: int
    pq_before: float
    pq_after: float


class Corrector:
    """Corrects one window with nuclei `oracle_HW`; `objects_HW` has the ids of the proposals, the session's last change."""

    def __init__(self, tool: CorrectingTool, oracle_HW: Map, objects_HW: Map, hand: Hand) -> None:
        self._tool, self._hand, self._oracle_HW = tool, hand, oracle_HW
        self._objects_HW = objects_HW.copy()
        self._experience = Experience()
        self._corrections: dict[int, int] = {}  # clicks on each object that was corrected; TRIES = leave it
        self._clicks = 0

    def correct(self, target_pq: float, checked: Callable[[], None] = lambda: None) -> Correction:
        """Work until the PQ is reached or nothing is left to try; `checked` is called before every action."""
        standing = Standing.of(self._oracle_HW, self._objects_HW)
        before = standing.pq
        if before < target_pq and worth_refusing(standing, target_pq):
            standing = self._refuse()
        while standing.pq < target_pq and (sensible := self._sensible(standing)):
            checked()
            self._take(sensible[0], standing, sensible[1].gain if len(sensible) > 1 else 0.0)
            standing = Standing.of(self._oracle_HW, self._objects_HW)
        return Correction(len(standing.nuclei), self._clicks, before, standing.pq)

    def _refuse(self) -> Standing:
        """Take the proposals back as a whole."""
        self._tool.undo()
        self._objects_HW[:] = 0
        self._clicks += 1
        return Standing.of(self._oracle_HW, self._objects_HW)

    def _sensible(self, standing: Standing) -> list[Action]:
        """What is worth a click and was not tried too often, the best first."""
        return [
            action
            for action in actions(standing, self._experience)
            if not (action.kind is Kind.CORRECT and self._corrections.get(action.object_id, 0) >= TRIES)
            and not (action.kind is Kind.ADD and self._experience.tried.get(action.nucleus, (0, 0.0))[0] >= TRIES)
        ]

    def _take(self, action: Action, standing: Standing, alternative: float) -> None:
        match action.kind:
            case Kind.DELETE:
                self._delete(action.object_id)
            case Kind.ADD:
                self._add(action.nucleus, standing, alternative)
            case Kind.CORRECT:
                self._correct(action.nucleus, action.object_id)

    def _delete(self, object_id: int) -> None:
        self._tool.delete(object_id)
        self._objects_HW[self._objects_HW == object_id] = 0
        self._clicks += 1

    def _add(self, nucleus: int, standing: Standing, alternative: float) -> None:
        """Click a missed nucleus until it is found, or until another click promises less than the best `alternative`.

        One that is not found is taken back: a bad object costs PQ.
        """
        wanted_HW, clicked, reached = self._oracle_HW == nucleus, set[tuple[int, int]](), 0.0
        mask_HW, best = np.zeros_like(wanted_HW), 0.0
        before, _ = self._experience.tried.get(nucleus, (0, 0.0))
        while reached <= MATCH and len(clicked) < TRIES:
            brings = self._experience.rescued(reached)
            if len(clicked) > before and standing.pq_with(brings, objects=1) - standing.pq <= alternative:
                break
            after_HW = self._click(wanted_HW, mask_HW, clicked, own_id=0)
            if after_HW is None:
                break
            after = iou(after_HW, wanted_HW)
            if len(clicked) == 1:
                self._experience.note_added(after)
            else:
                self._experience.note_corrected(reached, after)
            mask_HW, reached, best = after_HW, after, max(best, after)
        if reached > MATCH:
            self._accept(mask_HW)
        else:
            # Counted even where no pixel could be clicked, so that it is not tried for ever.
            self._experience.tried[nucleus] = max(len(clicked), before + 1), best
            for _ in clicked:
                self._tool.undo()

    def _correct(self, nucleus: int, object_id: int) -> None:
        """Click where an object is wrong; a click that makes it worse is taken back and not tried again."""
        wanted_HW = self._oracle_HW == nucleus
        mask_HW = self._tool.select(object_id)
        before = iou(mask_HW, wanted_HW)
        after_HW = self._click(wanted_HW, mask_HW, set(), own_id=object_id)
        after = before if after_HW is None else iou(after_HW, wanted_HW)
        self._corrections[object_id] = self._corrections.get(object_id, 0) + 1 if after >= before + PROGRESS else TRIES
        if after_HW is not None:
            self._experience.note_corrected(before, after)
            if after > before:
                mask_HW = after_HW
            else:
                self._tool.undo()
        self._accept(mask_HW)

    def _click(self, wanted_HW: Mask, mask_HW: Mask, clicked: set[tuple[int, int]], *, own_id: int) -> Mask | None:
        """Place the next click of the object in work; None where there is nothing to click."""
        free_HW = (self._objects_HW == 0) | (self._objects_HW == own_id) if own_id else self._objects_HW == 0
        meant = next_click(wanted_HW, mask_HW, free_HW, clicked)
        if meant is None or not (meant[2] or mask_HW.any()):
            return None
        region_HW = error_region(wanted_HW, mask_HW, free_HW, positive=meant[2])
        x, y = self._hand.place(meant[0], meant[1], region_HW, clicked)
        clicked.add((x, y))
        self._clicks += 1
        return self._tool.click(x, y, positive=meant[2])

    def _accept(self, mask_HW: Mask) -> None:
        object_id = self._tool.accept()
        self._objects_HW[self._objects_HW == object_id] = 0
        self._objects_HW[mask_HW] = object_id

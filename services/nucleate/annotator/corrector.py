"""The robot's routine for correcting proposals until a window's PQ is reached: always the click that is likely to help most.

It does what a sensible person could do: sees which nuclei are missed and which objects are wrong, learns how well the tool
answers, takes back a click that made things worse (the click stays spent), and does not try the same thing twice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from nucleate.annotator.hand import Hand
from nucleate.annotator.oracle import Map, Mask, error_region, iou, next_click
from nucleate.annotator.plan import MATCH, Action, Experience, Kind, Standing, actions

HOPELESS = 0.25  # IoU after a click on a missed nucleus under which it is taken back rather than corrected
TRIES = 2  # clicks in a row on one nucleus before it is left


class CorrectingTool(Protocol):
    """The part of the annotation tool that this needs; coordinates are window pixels."""

    def click(self, x: int, y: int, *, positive: bool) -> Mask:
        """Click; returns the object's mask."""

    def undo(self) -> None:
        """Take back the last click of the object in work."""

    def select(self, object_id: int) -> Mask:
        """Take an object back into work; returns its mask."""

    def delete(self, object_id: int) -> None:
        """Drop an object."""

    def accept(self) -> int:
        """Finish the object in work; returns its id."""


@dataclass(frozen=True)
class Correction:
    """What it took: deletions count as clicks, and so do clicks that were taken back."""

    nuclei: int
    clicks: int
    pq_before: float
    pq_after: float


class Corrector:
    """Corrects one window. `objects_HW` holds the ids of the proposals, `oracle_HW` the nuclei."""

    def __init__(self, tool: CorrectingTool, oracle_HW: Map, objects_HW: Map, hand: Hand) -> None:
        self._tool, self._hand, self._oracle_HW = tool, hand, oracle_HW
        self._objects_HW = objects_HW.copy()
        self._experience = Experience()
        self._given_up = set[tuple[Kind, int]]()
        self._clicks = 0

    def correct(self, target_pq: float, checked: Callable[[], None] = lambda: None) -> Correction:
        """Work until the PQ is reached or nothing is left to try; `checked` is called before every action."""
        standing = Standing.of(self._oracle_HW, self._objects_HW)
        before = standing.pq
        while standing.pq < target_pq and (action := self._best(standing)):
            checked()
            self._take(action)
            standing = Standing.of(self._oracle_HW, self._objects_HW)
        return Correction(len(standing.nuclei), self._clicks, before, standing.pq)

    def _best(self, standing: Standing) -> Action | None:
        return next((a for a in actions(standing, self._experience) if (a.kind, a.nucleus) not in self._given_up), None)

    def _take(self, action: Action) -> None:
        match action.kind:
            case Kind.DELETE:
                self._delete(action.object_id)
            case Kind.ADD:
                self._add(action.nucleus)
            case Kind.CORRECT:
                self._correct(action.nucleus, action.object_id)

    def _delete(self, object_id: int) -> None:
        self._tool.delete(object_id)
        self._objects_HW[self._objects_HW == object_id] = 0
        self._clicks += 1

    def _add(self, nucleus: int) -> None:
        """Click a missed nucleus; once more if that is nearly enough; else leave it missed: a bad object costs PQ."""
        wanted_HW, clicked = self._oracle_HW == nucleus, set[tuple[int, int]]()
        mask_HW = np.zeros_like(wanted_HW)
        while len(clicked) < TRIES and iou(mask_HW, wanted_HW) <= MATCH:
            if clicked and iou(mask_HW, wanted_HW) < HOPELESS:
                break
            after_HW = self._click(wanted_HW, mask_HW, clicked, own_id=0)
            if after_HW is None:
                break
            credit = iou(after_HW, wanted_HW)
            outcomes = self._experience.rescued if len(clicked) > 1 else self._experience.added
            outcomes.append(credit if credit > MATCH else 0.0)
            mask_HW = after_HW
        if iou(mask_HW, wanted_HW) > MATCH:
            self._accept(mask_HW)
        else:
            self._given_up.add((Kind.ADD, nucleus))
            for _ in clicked:
                self._tool.undo()

    def _correct(self, nucleus: int, object_id: int) -> None:
        """Click where an object is wrong; a click that makes it worse is taken back and not tried again."""
        wanted_HW = self._oracle_HW == nucleus
        mask_HW = self._tool.select(object_id)
        before = iou(mask_HW, wanted_HW)
        after_HW = self._click(wanted_HW, mask_HW, set(), own_id=object_id)
        after = 0.0 if after_HW is None else iou(after_HW, wanted_HW)
        if before > MATCH:
            self._experience.improved.append(max(after - before, 0.0) / (1 - before) if before < 1 else 0.0)
        else:
            self._experience.rescued.append(after if after > MATCH else 0.0)
        if after_HW is not None and after <= before:
            self._tool.undo()
        if after_HW is None or after <= before or after <= MATCH:
            self._given_up.add((Kind.CORRECT, nucleus))
        self._accept(after_HW if after_HW is not None and after > before else mask_HW)

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

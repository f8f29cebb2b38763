"""One nucleus clicked from scratch, and the record of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import numpy as np

from nucleate.annotator.robot.click_noise import Hand
from nucleate.annotator.robot.oracle import Mask, error_region, iou, next_click
from nucleate.annotator.robot.session_tool import Answer

ENOUGH = 0.9  # IoU at which a nucleus is done: the highest target anybody counts clicks for


class ClickTool(Protocol):
    """The part of the annotation tool that this needs."""

    def place(self, x: int, y: int, *, positive: bool) -> Answer:
        """Click, in window pixels."""

    def delete(self, object_id: int) -> None:
        """Drop an object."""


@dataclass(frozen=True)
class Attempt:
    """A nucleus of `area` px and what came of each click on it, in order.

    `honoured` and `honoured_by_network` count, after click k, how many of the k clicks are on the side they ask for: in the
    mask, and by the network's probability alone. Times are milliseconds.
    """

    image: str
    nucleus: int
    area: int
    clicks: list[tuple[int, int, bool]] = field(default_factory=list)
    iou: list[float] = field(default_factory=list)
    honoured: list[int] = field(default_factory=list)
    honoured_by_network: list[int] = field(default_factory=list)
    evaluations: list[int] = field(default_factory=list)
    milliseconds: list[float] = field(default_factory=list)
    call_milliseconds: list[float] = field(default_factory=list)

    def clicks_to(self, target: float) -> int:
        """Number of clicks after which the IoU first reached `target`; 0 = never."""
        return next((k for k, reached in enumerate(self.iou, 1) if reached >= target), 0)


def click_nucleus(tool: ClickTool, nucleus_HW: Mask, most: int, hand: Hand, attempt: Attempt) -> None:
    """Click until IoU .9 or the most clicks, then drop the object: the next nucleus finds the image as this one did.

    Args:
        tool: a session without finished objects.
        nucleus_HW: the nucleus, bool, window pixels.
        most: clicks at most.
        hand: places the clicks.
        attempt: the record to fill.
    """
    mask_HW, free_HW = np.zeros_like(nucleus_HW), np.ones_like(nucleus_HW)
    object_id, clicked = 0, set[tuple[int, int]]()
    while len(clicked) < most and (not attempt.iou or attempt.iou[-1] < ENOUGH):
        meant = next_click(nucleus_HW, mask_HW, free_HW, clicked)
        if meant is None:
            break
        positive = meant[2]
        region_HW = error_region(nucleus_HW, mask_HW, free_HW, positive=positive)
        x, y = hand.place(meant[0], meant[1], region_HW, clicked)
        answer = tool.place(x, y, positive=positive)
        clicked.add((x, y))
        object_id, mask_HW = answer.object_id, answer.mask
        attempt.clicks.append((x, y, positive))
        _note(attempt, answer, iou(mask_HW, nucleus_HW))
    if object_id:
        tool.delete(object_id)


def _note(attempt: Attempt, answer: Answer, reached: float) -> None:
    """Record one click. Whether the mask honours the clicks is looked up in the mask itself."""
    attempt.iou.append(round(reached, 6))
    attempt.honoured.append(sum(bool(answer.mask[y, x]) == positive for x, y, positive in attempt.clicks))
    attempt.honoured_by_network.append(answer.honoured_by_network)
    attempt.evaluations.append(answer.evaluations)
    attempt.milliseconds.append(round(answer.milliseconds, 3))
    attempt.call_milliseconds.append(round(answer.call_milliseconds, 3))


def to_lines(attempts: Sequence[Attempt]) -> bytes:
    """One JSON object a line."""
    return "".join(json.dumps(asdict(each), separators=(",", ":")) + "\n" for each in attempts).encode()


def from_lines(data: bytes) -> list[Attempt]:
    """Read `to_lines` back."""
    rows: list[dict[str, Any]] = [json.loads(line) for line in data.splitlines()]
    return [Attempt(**(row | {"clicks": [(x, y, positive) for x, y, positive in row["clicks"]]})) for row in rows]

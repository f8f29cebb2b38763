"""One nucleus clicked from scratch, and the record of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import numpy as np

from nucleate.annotator.robot.click_noise import ClickNoise
from nucleate.annotator.robot.oracle import Mask, error_region, next_free_click
from nucleate.annotator.robot.session_tool import ClickResult
from nucleate.pathology.instances.mask_iou import intersection_over_union

DONE_IOU = 0.9  # IoU at which a nucleus is done: the highest target anybody counts clicks for


class ClickTool(Protocol):
    """The part of the annotation tool that this needs."""

    def click_with_result(self, x: int, y: int, *, positive: bool) -> ClickResult:
        """Click, in window pixels."""

    def delete(self, object_id: int) -> None:
        """Drop an object."""


@dataclass(frozen=True)
class NucleusRecord:
    """A nucleus of `area` px and the outcome of each click on it, in order.

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


def click_nucleus(tool: ClickTool, nucleus_HW: Mask, max_clicks: int, noise: ClickNoise, record: NucleusRecord) -> None:
    """Click until IoU .9 or the most clicks, then drop the object: the next nucleus finds the image as this one did.

    Args:
        tool: a session without finished objects.
        nucleus_HW: the nucleus, bool, window pixels.
        max_clicks: at most.
        noise: of the clicks.
        record: to fill.
    """
    mask_HW, free_HW = np.zeros_like(nucleus_HW), np.ones_like(nucleus_HW)
    object_id, clicked = 0, set[tuple[int, int]]()
    while len(clicked) < max_clicks and (not record.iou or record.iou[-1] < DONE_IOU):
        click = next_free_click(nucleus_HW, mask_HW, free_HW, clicked)
        if click is None:
            break
        positive = click[2]
        region_HW = error_region(nucleus_HW, mask_HW, free_HW, positive=positive)
        x, y = noise.apply(click[0], click[1], region_HW, clicked)
        answer = tool.click_with_result(x, y, positive=positive)
        clicked.add((x, y))
        object_id, mask_HW = answer.object_id, answer.mask
        record.clicks.append((x, y, positive))
        _record_click(record, answer, intersection_over_union(mask_HW, nucleus_HW))
    if object_id:
        tool.delete(object_id)


def _record_click(record: NucleusRecord, answer: ClickResult, reached: float) -> None:
    """Record one click. Whether the mask honours the clicks is looked up in the mask itself."""
    record.iou.append(round(reached, 6))
    record.honoured.append(sum(bool(answer.mask[y, x]) == positive for x, y, positive in record.clicks))
    record.honoured_by_network.append(answer.honoured_by_network)
    record.evaluations.append(answer.evaluations)
    record.milliseconds.append(round(answer.milliseconds, 3))
    record.call_milliseconds.append(round(answer.call_milliseconds, 3))


def to_lines(records: Sequence[NucleusRecord]) -> bytes:
    """One JSON object a line."""
    return "".join(json.dumps(asdict(each), separators=(",", ":")) + "\n" for each in records).encode()


def from_lines(data: bytes) -> list[NucleusRecord]:
    """Read `to_lines` back."""
    rows: list[dict[str, Any]] = [json.loads(line) for line in data.splitlines()]
    return [NucleusRecord(**(row | {"clicks": [(x, y, positive) for x, y, positive in row["clicks"]]})) for row in rows]

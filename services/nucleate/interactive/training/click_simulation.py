"""A simulated person clicks one nucleus: IoU after each click, as the NoC protocol counts it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

from nucleate.interactive.clicks import Click, intersection_over_union, next_click
from nucleate.interactive.object_mask import ObjectMask, around
from nucleate.interactive.prediction.predictor import Predictor


@dataclass(frozen=True)
class Round:
    """What one click gave: IoU after it, optimizer evaluations and wall milliseconds spent."""

    iou: float
    evaluations: int
    milliseconds: float


def click_nucleus(predictor: Predictor, truth: ObjectMask, most_clicks: int, target_iou: float = 1.0) -> list[Round]:
    """Click at the deepest point of the larger error region until the target IoU or `most_clicks`."""
    mask, clicks, delta, frame, rounds = ObjectMask.empty(), list[Click](), None, None, list[Round]()
    shown: list[ObjectMask] = []
    while len(clicks) < most_clicks and (not rounds or rounds[-1].iou < target_iou):
        x, y, width, height = around(truth, mask)
        seen_HW, wanted_HW = mask.within(x, y, width, height), truth.within(x, y, width, height)
        click = next_click(wanted_HW, seen_HW, [c.moved(-x, -y) for c in clicks])
        if click is None:
            break
        clicks.append(click.moved(x, y))
        shown.append(mask)
        start = perf_counter()
        prediction = predictor.predict(clicks, shown, delta, frame=frame)
        spent = 1000 * (perf_counter() - start)
        mask, delta, frame = prediction.mask, prediction.delta, prediction.frame
        x, y, width, height = around(truth, mask)
        iou = intersection_over_union(truth.within(x, y, width, height), mask.within(x, y, width, height))
        rounds.append(Round(iou, prediction.evaluations, spent))
    return rounds


def iou_after(rounds: Sequence[Round], clicks: int) -> float:
    """IoU after so many clicks; a nucleus done earlier keeps its last IoU."""
    return rounds[min(clicks, len(rounds)) - 1].iou if rounds else 0.0


def clicks_needed(rounds: Sequence[Round], target_iou: float, most_clicks: int) -> int:
    """Clicks until the IoU is reached; `most_clicks` when it never is."""
    return next((n for n, r in enumerate(rounds, 1) if r.iou >= target_iou), most_clicks)

"""A simulated user clicks one nucleus: IoU after each click, as the NoC protocol counts it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

from nucleate.interactive.clicks import Click, Mask
from nucleate.interactive.object_mask import ObjectMask, union_box
from nucleate.interactive.prediction.predictor import Predictor
from nucleate.pathology.instances.click_placement import next_click
from nucleate.pathology.instances.mask_iou import intersection_over_union


@dataclass(frozen=True)
class SimulatedClick:
    """One click of the simulation: IoU after it, optimizer evaluations and wall milliseconds."""

    iou: float
    evaluations: int
    milliseconds: float


def simulated_click(truth_HW: Mask, mask_HW: Mask, clicked: Sequence[Click] = ()) -> Click | None:
    """The next click of the NoC protocol on a nucleus that may take any pixel; None when nothing is wrong."""
    found = next_click(truth_HW & ~mask_HW, mask_HW & ~truth_HW, [(click.x, click.y) for click in clicked])
    return Click(*found) if found else None


def simulate_clicks(predictor: Predictor, truth: ObjectMask, max_clicks: int, target_iou: float = 1.0) -> list[SimulatedClick]:
    """Click at the deepest point of the larger error region until the target IoU or `max_clicks`."""
    mask, delta, frame = ObjectMask.empty(), None, None
    clicks, previous_masks, rounds = list[Click](), list[ObjectMask](), list[SimulatedClick]()
    while len(clicks) < max_clicks and (not rounds or rounds[-1].iou < target_iou):
        x, y, width, height = union_box(truth, mask)
        truth_HW, mask_HW = truth.crop(x, y, width, height), mask.crop(x, y, width, height)
        click = simulated_click(truth_HW, mask_HW, [c.translated(-x, -y) for c in clicks])
        if click is None:
            break
        clicks.append(click.translated(x, y))
        previous_masks.append(mask)
        start = perf_counter()
        prediction = predictor.predict(clicks, previous_masks, delta, frame=frame)
        milliseconds = 1000 * (perf_counter() - start)
        mask, delta, frame = prediction.mask, prediction.delta, prediction.frame
        box = union_box(truth, mask)
        iou = intersection_over_union(truth.crop(*box), mask.crop(*box))
        rounds.append(SimulatedClick(iou, prediction.evaluations, milliseconds))
    return rounds


def iou_after(rounds: Sequence[SimulatedClick], clicks: int) -> float:
    """IoU after so many clicks; a nucleus done earlier keeps its last IoU."""
    return rounds[min(clicks, len(rounds)) - 1].iou if rounds else 0.0

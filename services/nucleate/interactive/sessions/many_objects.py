"""Many objects in one call: one click per nucleus, or proposals."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nucleate import errors
from nucleate.interactive.cancellation import CancellationCheck
from nucleate.interactive.clicks import Click
from nucleate.interactive.prediction.predictor import BATCH
from nucleate.interactive.prediction.result import Prediction
from nucleate.interactive.sessions.backpressure import ConcurrencyLimiter
from nucleate.interactive.sessions.event_payloads import mask_to_json, object_to_json
from nucleate.interactive.sessions.objects import AcceptedObject, Box
from nucleate.interactive.sessions.pixel_assignment import assign_pixels
from nucleate.interactive.sessions.proposals import MIN_FRAGMENT_AREA, cut_proposals
from nucleate.interactive.sessions.session import Session, require_capacity, require_idle
from nucleate.interactive.sessions.state import SessionState

MAX_CLICKS = 1024


def predict_many(
    session: Session, clicks: Sequence[Click], limiter: ConcurrencyLimiter, cancelled: CancellationCheck
) -> Mapping[str, Any]:
    """Make an object of every click that can be one; the others say why they cannot.

    Raises:
        errors.InvalidInput: no click, or more than 1024.
        errors.Precondition: the active object has clicks.
        errors.TooLarge: more objects than a session may have.
        errors.Overloaded: too many calls wait already.
        errors.Cancelled: `cancelled` said so.
    """
    state, start = session.state, time.perf_counter()
    if not 1 <= len(clicks) <= MAX_CLICKS:
        raise errors.InvalidInput(f"{len(clicks)} clicks in one call: give 1 to {MAX_CLICKS}")
    require_idle(state)
    refused = {n: reason for n, reason in enumerate(_refusals(state, clicks)) if reason}
    taken = [n for n in range(len(clicks)) if n not in refused]
    require_capacity(session.limits, len(state.objects), len(taken))
    points = [clicks[n] for n in taken]
    predictions = list(_predictions(session, points, limiter, cancelled))
    found, free_id = {}, state.free_id
    for n, mask, prediction in zip(taken, assign_pixels(points, predictions), predictions, strict=True):
        if mask.area < min(MIN_FRAGMENT_AREA, max(prediction.mask.area, 1)):
            refused[n] = f"click ({clicks[n].x}, {clicks[n].y}) lies in the mask of another click of this call"
            continue
        found[n] = {"object_id": free_id, "mask": mask_to_json(mask), "clicks": 1, "confidence": prediction.confidence}
        free_id += 1
    objects = [found.get(n) or {"object_id": 0, "refused": refused[n]} for n in range(len(clicks))]
    return {"objects": objects, "milliseconds": 1000 * (time.perf_counter() - start)}


def _predictions(
    session: Session, points: Sequence[Click], limiter: ConcurrencyLimiter, cancelled: CancellationCheck
) -> Iterator[Prediction]:
    """Batch by batch, a slot for each, so that a click on another session has not to wait for all of them."""
    for start in range(0, len(points), BATCH):
        with limiter.slot(cancelled, admitted=start > 0):
            yield from session.inputs.prepared.predictor.predict_many(points[start : start + BATCH], session.state.excluded())
        if cancelled():
            raise errors.Cancelled("the clicks were cancelled")


def _refusals(state: SessionState, clicks: Sequence[Click]) -> Iterator[str]:
    """Why a click cannot become an object; empty when it can."""
    seen: set[tuple[int, int]] = set()
    for click in clicks:
        at = f"click ({click.x}, {click.y})"
        if not click.positive:
            yield f"{at} is negative: clicks of a batch are positive"
        elif not state.window.contains(click.x, click.y):
            yield f"{at} is outside the window"
        elif owner := state.object_at(click.x, click.y):
            yield f"{at} lies on object {owner}, which is finished"
        elif (click.x, click.y) in seen:
            yield f"{at} is on the pixel of an earlier click of this call"
        else:
            seen.add((click.x, click.y))
            yield ""


def propose(session: Session, labels_HW: NDArray[np.int32], map_window: Box) -> Mapping[str, Any]:
    """Add the objects of a map that do not lie mostly on present ones; `map_window` is the window as it lies in the map.

    Raises:
        errors.Precondition: the active object has clicks.
        errors.TooLarge: more objects than a session may have.
    """
    state, w = session.state, session.state.window
    require_idle(state)
    masks = list(cut_proposals(labels_HW, map_window, state.instances_HW))
    require_capacity(session.limits, len(state.objects), len(masks))
    moved = [replace(mask, x=mask.x + w.x - map_window.x, y=mask.y + w.y - map_window.y) for mask in masks]
    return {"objects": [object_to_json(n, AcceptedObject(mask, 0)) for n, mask in enumerate(moved, state.free_id)]}

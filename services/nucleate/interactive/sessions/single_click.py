"""One click: its validation and its prediction."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from nucleate import errors
from nucleate.interactive.cancellation import CancellationCheck
from nucleate.interactive.clicks import Click
from nucleate.interactive.sessions.backpressure import ConcurrencyLimiter
from nucleate.interactive.sessions.event_payloads import click_payload, probability_payload
from nucleate.interactive.sessions.session import Limits, Session, require_capacity
from nucleate.interactive.sessions.state import SessionState


def existing_answer(state: SessionState, click: Click) -> Mapping[str, Any] | None:
    """The answer as it stands when the active object has this very click already.

    Raises:
        errors.InvalidInput: it has a click of the other sign on that pixel.
    """
    found = state.active.at(click.x, click.y) if state.active else None
    if found is None:
        return None
    if found != click:
        sign = "positive" if found.positive else "negative"
        raise errors.InvalidInput(f"click ({click.x}, {click.y}) contradicts the {sign} click on that pixel: undo it first")
    assert state.active is not None
    return state.active.steps[-1].answer


def predict_click(
    session: Session, click: Click, limiter: ConcurrencyLimiter, cancelled: CancellationCheck, *, probability: bool
) -> Mapping[str, Any]:
    """Check a click, wait for a slot, and run the network on it.

    Raises:
        errors.InvalidInput: outside the window, on another finished object, or a first click that is negative.
        errors.TooLarge: the object has as many clicks, or the session as many objects, as there may be.
        errors.Overloaded: too many calls wait already.
        errors.Cancelled: `cancelled` said so.
    """
    state = session.state
    _check(state, click, session.limits)
    active, start = state.active, time.perf_counter()
    steps = active.steps if active else ()
    last = steps[-1] if steps else None
    with limiter.slot(cancelled) as waited:
        prediction = session.inputs.prepared.predictor.predict(
            [step.click for step in steps] + [click],
            [active.original, *(step.mask for step in steps)] if active else (),
            last.delta if last else None,
            state.excluded(state.next_object_id),
            cancelled,
            frame=last.frame if last else None,
        )
    if cancelled():
        raise errors.Cancelled("the click was cancelled")
    outcome = click_payload(state.next_object_id, prediction, 1000 * (time.perf_counter() - start), waited)
    if probability:
        outcome["probability"] = probability_payload(*prediction.probability, state.window)
    return outcome


def _check(state: SessionState, click: Click, limits: Limits) -> None:
    w = state.window
    if not w.contains(click.x, click.y):
        raise errors.InvalidInput(
            f"click ({click.x}, {click.y}) is outside the window of {w.width} x {w.height} pixels at ({w.x}, {w.y})"
        )
    if click.positive and state.object_at(click.x, click.y) not in (0, state.next_object_id):
        raise errors.InvalidInput(
            f"click ({click.x}, {click.y}) lies on object {state.object_at(click.x, click.y)}, which is finished: "
            "select it to correct it, or delete it"
        )
    if state.active is None:
        require_capacity(limits, len(state.objects), 1)
    elif len(state.active.steps) >= limits.clicks:
        raise errors.TooLarge(
            f"object {state.active.object_id} has {limits.clicks} clicks, the most there may be: accept or delete it"
        )

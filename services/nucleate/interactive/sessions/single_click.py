"""One click: whether it makes sense, and what the network makes of it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from nucleate import errors
from nucleate.interactive.clicks import Click
from nucleate.interactive.sessions.backpressure import Cancelled, Gate
from nucleate.interactive.sessions.event_payloads import click_outcome, probability_outcome
from nucleate.interactive.sessions.session import Limits, Session, require_room
from nucleate.interactive.sessions.state import SessionState


def already_made(state: SessionState, click: Click) -> Mapping[str, Any] | None:
    """The answer as it stands when the object in work has this very click already.

    Raises:
        errors.InvalidInput: it has a click of the other sign on that pixel.
    """
    found = state.work.at(click.x, click.y) if state.work else None
    if found is None:
        return None
    if found != click:
        sign = "positive" if found.positive else "negative"
        raise errors.InvalidInput(f"click ({click.x}, {click.y}) contradicts the {sign} click on that pixel: undo it first")
    assert state.work is not None
    return state.work.steps[-1].answer


def predict_click(session: Session, click: Click, gate: Gate, cancelled: Cancelled, *, probability: bool) -> Mapping[str, Any]:
    """Check a click, wait for a turn, and run the network on it.

    Raises:
        errors.InvalidInput: outside the window, on another finished object, or a first click that is negative.
        errors.TooLarge: the object has as many clicks, or the session as many objects, as there may be.
        errors.Overloaded: too many calls wait already.
        errors.Cancelled: `cancelled` said so.
    """
    state = session.state
    _check(state, click, session.limits)
    work, start = state.work, time.perf_counter()
    steps = work.steps if work else ()
    last = steps[-1] if steps else None
    with gate.turn(cancelled) as waited:
        prediction = session.material.picture.predictor.predict(
            [step.click for step in steps] + [click],
            [work.original, *(step.mask for step in steps)] if work else (),
            last.delta if last else None,
            state.blocked(state.next_object_id),
            cancelled,
            frame=last.frame if last else None,
        )
    if cancelled():
        raise errors.Cancelled("the click was cancelled")
    outcome = click_outcome(state.next_object_id, prediction, 1000 * (time.perf_counter() - start), waited)
    if probability:
        outcome["probability"] = probability_outcome(*prediction.probability, state.window)
    return outcome


def _check(state: SessionState, click: Click, limits: Limits) -> None:
    w = state.window
    if not w.holds(click.x, click.y):
        raise errors.InvalidInput(
            f"click ({click.x}, {click.y}) is outside the window of {w.width} x {w.height} pixels at ({w.x}, {w.y})"
        )
    if click.positive and state.owner(click.x, click.y) not in (0, state.next_object_id):
        raise errors.InvalidInput(
            f"click ({click.x}, {click.y}) lies on object {state.owner(click.x, click.y)}, which is finished: "
            "select it to correct it, or delete it"
        )
    if state.work is None:
        require_room(limits, len(state.objects), 1)
    elif len(state.work.steps) >= limits.clicks:
        raise errors.TooLarge(
            f"object {state.work.object_id} has {limits.clicks} clicks, the most there may be: accept or delete it"
        )

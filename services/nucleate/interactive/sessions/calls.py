"""Sessions as calls: each call checks, computes, writes one event, and moves the state on."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nucleate import errors
from nucleate.interactive.clicks import Click
from nucleate.interactive.sessions import event_log, many_objects
from nucleate.interactive.sessions.backpressure import Cancelled, Gate
from nucleate.interactive.sessions.event_log import Event, EventStore, SessionLog
from nucleate.interactive.sessions.event_payloads import change_outcome, click_to_json, mask_to_json
from nucleate.interactive.sessions.objects import Box
from nucleate.interactive.sessions.session import Limits, Session, object_mask, require_idle
from nucleate.interactive.sessions.session_cache import LiveSessions
from nucleate.interactive.sessions.session_input import Material, Opener
from nucleate.interactive.sessions.single_click import already_made, predict_click
from nucleate.interactive.sessions.undo_history import Transition

# Gives a map to propose from and the window as it lies in the map.
Source = Callable[[Material], tuple[NDArray[np.int32], Box]]


def never() -> bool:
    """For calls that nobody cancels."""
    return False


@dataclass(frozen=True, eq=False)
class Clicked:
    """What came of a click, the milliseconds that the log took, and the session's sequence after it."""

    outcome: Mapping[str, Any]
    storing: float
    sequence: int


class Sessions:
    """All sessions of one replica. The latest few stay in memory; any other is rebuilt from its log."""

    def __init__(self, store: EventStore, opener: Opener, gate: Gate, live: LiveSessions, limits: Limits) -> None:
        self._store, self._opener, self._gate, self._live, self._limits = store, opener, gate, live, limits

    def open(self, session_id: str, request: str, cancelled: Cancelled = never) -> Session:
        """Start a session, or go on with it when it was opened with the same request.

        Raises:
            errors.Conflict: it was opened with another image, model, window, refinement or proposals.
        """
        log = SessionLog(self._store, session_id)
        if log.read(0) is None:
            resolved = self._opener.resolve(request)
            session = self._build(log, request, resolved, cancelled)
            if log.append(0, Event(event_log.OPEN, {"request": request, "resolved": resolved}, {})):
                self._live.get(session_id, lambda: session)
        session = self.get(session_id)
        if session.request != request:
            raise errors.Conflict(f"session {session_id} was opened on another image, model or window: choose another id")
        return session

    def get(self, session_id: str) -> Session:
        """The session, up to date.

        Raises:
            errors.NotFound: it was never opened.
            errors.SessionExpired: nothing has changed it for too long.
        """
        session = self._find(session_id)
        with session.lock:
            session.catch_up()
            session.require_fresh()
        return session

    def _find(self, session_id: str) -> Session:
        def build() -> Session:
            log = SessionLog(self._store, session_id)
            opening = log.read(0)
            if opening is None:
                raise errors.NotFound(f"there is no session {session_id}: open it first")
            request = str(opening.arguments["request"])
            session = self._build(log, request, str(opening.arguments.get("resolved", request)), never)
            session.catch_up()
            return session

        return self._live.find(session_id) or self._live.get(session_id, build)

    def _build(self, log: SessionLog, request: str, resolved: str, cancelled: Cancelled) -> Session:
        with self._gate.turn(cancelled):
            material, state = self._opener.open(resolved)
        return Session(log, request, material, self._limits, state)

    def click(
        self, session_id: str, sequence: int, click: Click, cancelled: Cancelled = never, *, probability: bool = False
    ) -> Clicked:
        """Add a click to the object in work, or start an object with it; see `predict_click` for what is refused."""
        session, done = self._find(session_id), 0.0

        def compute() -> Mapping[str, Any]:
            nonlocal done
            outcome = predict_click(session, click, self._gate, cancelled, probability=probability)
            done = time.perf_counter()
            return outcome

        with session.lock:
            if session.stands_at(sequence) and (answer := already_made(session.state, click)):
                return Clicked(answer, 0.0, sequence)
            event = session.change(sequence, event_log.CLICK, click_to_json(click), compute)
        return Clicked(event.outcome, 1000 * (time.perf_counter() - done) if done else 0.0, sequence + 1)

    def click_many(self, session_id: str, sequence: int, clicks: Sequence[Click], cancelled: Cancelled = never) -> Event:
        """Make an object of each click; see `batches.predict_many` for what is refused."""
        session = self._find(session_id)
        arguments = {"clicks": [[click.x, click.y, click.positive] for click in clicks]}
        with session.lock:
            return session.change(
                sequence,
                event_log.CLICK_MANY,
                arguments,
                lambda: many_objects.predict_many(session, clicks, self._gate, cancelled),
            )

    def propose(self, session_id: str, sequence: int, arguments: Mapping[str, Any], source: Source) -> Event:
        """Add the objects of a map that do not lie mostly on those present; `arguments` names the map in the log."""
        session = self._find(session_id)

        def compute() -> Mapping[str, Any]:
            require_idle(session.state)
            with self._gate.turn():
                return many_objects.propose(session, *source(session.material))

        with session.lock:
            return session.change(sequence, event_log.PROPOSE, arguments, compute)

    def undo(self, session_id: str, sequence: int) -> Event:
        """Take back the last call that changed the session; clicks spent stay spent."""
        session = self._find(session_id)
        with session.lock:
            return session.change(
                sequence,
                event_log.UNDO,
                {},
                lambda: _described(session, session.state.history.last, "there is nothing to undo: make a click first"),
            )

    def redo(self, session_id: str, sequence: int) -> Event:
        """Bring back what the last undo took back, as long as nothing new has happened."""
        session = self._find(session_id)
        with session.lock:
            return session.change(
                sequence,
                event_log.REDO,
                {},
                lambda: _described(session, session.state.history.next, "there is nothing to redo: undo something first"),
            )

    def select(self, session_id: str, sequence: int, object_id: int) -> Event:
        """Take a finished object or a proposal back into work."""
        session = self._find(session_id)

        def compute() -> Mapping[str, Any]:
            require_idle(session.state)
            return {"mask": mask_to_json(object_mask(session, object_id))}

        with session.lock:
            return session.change(sequence, event_log.SELECT, {"object_id": object_id}, compute)

    def delete(self, session_id: str, sequence: int, object_id: int) -> Event:
        """Drop an object, the one in work included; counts as one click."""
        session = self._find(session_id)

        def compute() -> Mapping[str, Any]:
            work = session.state.work
            if not (work and work.object_id == object_id):
                object_mask(session, object_id)
            return {}

        with session.lock:
            return session.change(sequence, event_log.DELETE, {"object_id": object_id}, compute)

    def accept(self, session_id: str, sequence: int) -> Event:
        """Finish the object in work; its pixels are locked from then on."""
        session = self._find(session_id)

        def compute() -> Mapping[str, Any]:
            work = session.state.work
            if work is None:
                raise errors.Precondition("no object is in work: click on a nucleus first")
            if not work.mask.area:
                raise errors.Precondition(f"object {work.object_id} is empty: click on it, or delete it")
            return {"object_id": work.object_id}

        with session.lock:
            return session.change(sequence, event_log.ACCEPT, {}, compute)

    def close(self, session_id: str) -> Event:
        """End the session and publish its instance map; again: the same result."""
        session = self.get(session_id)
        with session.lock:
            while session.state.closing is None:
                require_idle(session.state)
                with self._gate.turn():
                    event = Event(event_log.CLOSE, {}, self._result(session))
                if session.log.append(session.state.sequence, event):
                    session.state.apply(event)
                else:
                    session.catch_up()
            return session.state.closing

    def _result(self, session: Session) -> dict[str, Any]:
        state = session.state
        present, contiguous = np.unique(np.append(0, state.canvas_HW), return_inverse=True)
        instances_HW = contiguous[1:].reshape(state.canvas_HW.shape).astype(np.int32)
        return {
            "result": self._opener.publish(session.material.pixels(), instances_HW, session.request),
            "clicks": state.clicks_spent,
            "nuclei": len(present) - 1,
            "seconds": max(time.time() - state.opened_at, 0.0),
        }


def _described(session: Session, transition: Transition | None, nothing: str) -> Mapping[str, Any]:
    if transition is None:
        raise errors.Precondition(nothing)
    return {"change": change_outcome(transition, session.state.objects)}

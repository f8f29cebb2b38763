"""The calls of a session: each checks, computes, appends one event to the log, and applies it to the state."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nucleate import errors
from nucleate.interactive.cancellation import CancellationCheck, never_cancelled
from nucleate.interactive.clicks import Click
from nucleate.interactive.sessions import event_log, many_objects
from nucleate.interactive.sessions.backpressure import ConcurrencyLimiter
from nucleate.interactive.sessions.event_log import Event, EventStore, SessionLog
from nucleate.interactive.sessions.event_payloads import change_payload, click_to_json, mask_to_json
from nucleate.interactive.sessions.objects import Box
from nucleate.interactive.sessions.session import Limits, Session, object_mask, require_idle
from nucleate.interactive.sessions.session_cache import SessionCache
from nucleate.interactive.sessions.session_input import SessionInput, SessionOpener
from nucleate.interactive.sessions.single_click import existing_answer, predict_click
from nucleate.interactive.sessions.undo_history import Transition

# Reads an instance map to propose from, and the window as it lies in the map.
ProposalReader = Callable[[SessionInput], tuple[NDArray[np.int32], Box]]


@dataclass(frozen=True, eq=False)
class ClickResult:
    """The outcome of a click, the milliseconds that the log took, and the session's sequence after it."""

    outcome: Mapping[str, Any]
    storing: float
    sequence: int


class Sessions:
    """All sessions of one replica. The latest few stay in memory; any other is rebuilt from its log."""

    def __init__(
        self, store: EventStore, opener: SessionOpener, limiter: ConcurrencyLimiter, cache: SessionCache, limits: Limits
    ) -> None:
        self._store, self._opener, self._limiter, self._cache, self._limits = store, opener, limiter, cache, limits

    def open(self, session_id: str, request: str, cancelled: CancellationCheck = never_cancelled) -> Session:
        """Start a session, or go on with it when it was opened with the same request.

        Raises:
            errors.Conflict: it was opened with another image, model, window, refinement or proposals.
        """
        log = SessionLog(self._store, session_id)
        if log.read(0) is None:
            resolved = self._opener.resolve(request)
            session = self._build(log, request, resolved, cancelled)
            if log.append(0, Event(event_log.OPEN, {"request": request, "resolved": resolved}, {})):
                self._cache.get(session_id, lambda: session)
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
            session.require_unexpired()
        return session

    def _find(self, session_id: str) -> Session:
        def build() -> Session:
            log = SessionLog(self._store, session_id)
            opening = log.read(0)
            if opening is None:
                raise errors.NotFound(f"there is no session {session_id}: open it first")
            request = str(opening.arguments["request"])
            session = self._build(log, request, str(opening.arguments.get("resolved", request)), never_cancelled)
            session.catch_up()
            return session

        return self._cache.find(session_id) or self._cache.get(session_id, build)

    def _build(self, log: SessionLog, request: str, resolved: str, cancelled: CancellationCheck) -> Session:
        with self._limiter.slot(cancelled):
            inputs, state = self._opener.open(resolved)
        return Session(log, request, inputs, self._limits, state)

    def click(
        self,
        session_id: str,
        sequence: int,
        click: Click,
        cancelled: CancellationCheck = never_cancelled,
        *,
        probability: bool = False,
    ) -> ClickResult:
        """Add a click to the active object, or start an object with it; see `predict_click` for what is refused."""
        session, done = self._find(session_id), 0.0

        def compute() -> Mapping[str, Any]:
            nonlocal done
            outcome = predict_click(session, click, self._limiter, cancelled, probability=probability)
            done = time.perf_counter()
            return outcome

        with session.lock:
            if session.accepts_sequence(sequence) and (answer := existing_answer(session.state, click)):
                return ClickResult(answer, 0.0, sequence)
            event = session.change(sequence, event_log.CLICK, click_to_json(click), compute)
        return ClickResult(event.outcome, 1000 * (time.perf_counter() - done) if done else 0.0, sequence + 1)

    def click_many(
        self, session_id: str, sequence: int, clicks: Sequence[Click], cancelled: CancellationCheck = never_cancelled
    ) -> Event:
        """Make an object of each click; see `many_objects.predict_many` for what is refused."""
        session = self._find(session_id)
        arguments = {"clicks": [[click.x, click.y, click.positive] for click in clicks]}
        with session.lock:
            return session.change(
                sequence,
                event_log.CLICK_MANY,
                arguments,
                lambda: many_objects.predict_many(session, clicks, self._limiter, cancelled),
            )

    def propose(self, session_id: str, sequence: int, arguments: Mapping[str, Any], read: ProposalReader) -> Event:
        """Add the objects of a map that do not lie mostly on those present; `arguments` names the map in the log."""
        session = self._find(session_id)

        def compute() -> Mapping[str, Any]:
            require_idle(session.state)
            with self._limiter.slot():
                return many_objects.propose(session, *read(session.inputs))

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
                lambda: _change_outcome(
                    session, session.state.history.next_undo, "there is nothing to undo: make a click first"
                ),
            )

    def redo(self, session_id: str, sequence: int) -> Event:
        """Bring back what the last undo took back, as long as nothing new has happened."""
        session = self._find(session_id)
        with session.lock:
            return session.change(
                sequence,
                event_log.REDO,
                {},
                lambda: _change_outcome(
                    session, session.state.history.next_redo, "there is nothing to redo: undo something first"
                ),
            )

    def select(self, session_id: str, sequence: int, object_id: int) -> Event:
        """Select a finished object or a proposal as the active object."""
        session = self._find(session_id)

        def compute() -> Mapping[str, Any]:
            require_idle(session.state)
            return {"mask": mask_to_json(object_mask(session, object_id))}

        with session.lock:
            return session.change(sequence, event_log.SELECT, {"object_id": object_id}, compute)

    def delete(self, session_id: str, sequence: int, object_id: int) -> Event:
        """Drop an object, the active one included; counts as one click."""
        session = self._find(session_id)

        def compute() -> Mapping[str, Any]:
            active = session.state.active
            if not (active and active.object_id == object_id):
                object_mask(session, object_id)
            return {}

        with session.lock:
            return session.change(sequence, event_log.DELETE, {"object_id": object_id}, compute)

    def accept(self, session_id: str, sequence: int) -> Event:
        """Finish the active object; its pixels are excluded from others from then on."""
        session = self._find(session_id)

        def compute() -> Mapping[str, Any]:
            active = session.state.active
            if active is None:
                raise errors.Precondition("no object is in work: click on a nucleus first")
            if not active.mask.area:
                raise errors.Precondition(f"object {active.object_id} is empty: click on it, or delete it")
            return {"object_id": active.object_id}

        with session.lock:
            return session.change(sequence, event_log.ACCEPT, {}, compute)

    def close(self, session_id: str) -> Event:
        """End the session and publish its instance map; again: the same result."""
        session = self.get(session_id)
        with session.lock:
            while session.state.closing is None:
                require_idle(session.state)
                with self._limiter.slot():
                    event = Event(event_log.CLOSE, {}, self._result(session))
                if session.log.append(session.state.sequence, event):
                    session.state.apply(event)
                else:
                    session.catch_up()
            return session.state.closing

    def _result(self, session: Session) -> dict[str, Any]:
        state = session.state
        present, contiguous = np.unique(np.append(0, state.instances_HW), return_inverse=True)
        instances_HW = contiguous[1:].reshape(state.instances_HW.shape).astype(np.int32)
        return {
            "result": self._opener.publish(session.inputs.pixels(), instances_HW, session.request),
            "clicks": state.clicks_spent,
            "nuclei": len(present) - 1,
            "seconds": max(time.time() - state.opened_at, 0.0),
        }


def _change_outcome(session: Session, transition: Transition | None, nothing: str) -> Mapping[str, Any]:
    if transition is None:
        raise errors.Precondition(nothing)
    return {"change": change_payload(transition, session.state.objects)}

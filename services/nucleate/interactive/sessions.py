"""Sessions as calls: each call checks, computes, writes one event, and moves the state on."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nucleate import errors
from nucleate.interactive import events
from nucleate.interactive.clicks import Click
from nucleate.interactive.events import Event, EventStore, SessionLog
from nucleate.interactive.session import Material, Session, object_mask, predict_click, require_idle
from nucleate.interactive.state import mask_to_json

# From the text of an open request to what it names, so that any replica can take a session up.
Opener = Callable[[str], Material]
# Stores the window's pixels and its instance map; the text is what CloseSession answers with.
Publisher = Callable[[NDArray[np.uint8], NDArray[np.int32], str], str]


class Sessions:
    """All sessions of one replica. The latest few stay in memory; any other is rebuilt from its log."""

    def __init__(self, store: EventStore, opener: Opener, publisher: Publisher, most_live: int = 16) -> None:
        self._store, self._opener, self._publisher, self._most_live = store, opener, publisher, most_live
        self._live: OrderedDict[str, Session] = OrderedDict()
        self._lock = threading.Lock()

    def open(self, session_id: str, request: str) -> Session:
        """Start a session, or go on with it when it was opened with the same request.

        Raises:
            errors.Conflict: it was opened with another image, model, window or proposals.
        """
        log = SessionLog(self._store, session_id)
        if log.read(0) is None:
            material = self._opener(request)
            if log.append(0, Event(events.OPEN, {"request": request}, {})):
                self._keep(Session(log, request, material))
        session = self.get(session_id)
        if session.request != request:
            raise errors.Conflict(f"session {session_id} was opened on another image, model or window: choose another id")
        return session

    def get(self, session_id: str) -> Session:
        """The session, up to date.

        Raises:
            errors.NotFound: it was never opened.
        """
        session = self._find(session_id)
        with session.lock:
            session.catch_up()
        return session

    def _find(self, session_id: str) -> Session:
        with self._lock:
            if session := self._live.get(session_id):
                self._live.move_to_end(session_id)
                return session
        log = SessionLog(self._store, session_id)
        opening = log.read(0)
        if opening is None:
            raise errors.NotFound(f"there is no session {session_id}: open it first")
        request = str(opening.arguments["request"])
        return self._keep(Session(log, request, self._opener(request)))

    def _keep(self, session: Session) -> Session:
        with self._lock:
            kept = self._live.setdefault(session.log.session_id, session)
            while len(self._live) > self._most_live:
                self._live.popitem(last=False)
            return kept

    def click(self, session_id: str, sequence: int, click: Click) -> Event:
        """Add a click to the object in work, or start an object with it.

        Raises:
            errors.InvalidInput: outside the window, on another finished object, or a first click that is negative.
            errors.TooLarge: the object has 64 clicks.
        """
        session = self._find(session_id)

        def compute() -> Mapping[str, Any]:
            return predict_click(session, click)

        arguments = {"x": click.x, "y": click.y, "positive": click.positive}
        with session.lock:
            return session.change(sequence, events.CLICK, arguments, compute)

    def undo(self, session_id: str, sequence: int) -> Event:
        """Take back the last click of the object in work."""
        session = self._find(session_id)

        def compute() -> Mapping[str, Any]:
            work = session.state.work
            if work is None or not work.steps:
                raise errors.Precondition("there is no click to take back: no object is in work, or it has no clicks yet")
            left = work.steps[-2].mask if len(work.steps) > 1 else work.original
            return {"mask": mask_to_json(left)}

        with session.lock:
            return session.change(sequence, events.UNDO, {}, compute)

    def select(self, session_id: str, sequence: int, object_id: int) -> Event:
        """Take a finished object or a proposal back into work."""
        session = self._find(session_id)

        def compute() -> Mapping[str, Any]:
            require_idle(session.state)
            return {"mask": mask_to_json(object_mask(session, object_id))}

        with session.lock:
            return session.change(sequence, events.SELECT, {"object_id": object_id}, compute)

    def delete(self, session_id: str, sequence: int, object_id: int) -> Event:
        """Drop an object, the one in work included; counts as one click."""
        session = self._find(session_id)

        def compute() -> Mapping[str, Any]:
            work = session.state.work
            if not (work and work.object_id == object_id):
                object_mask(session, object_id)
            return {}

        with session.lock:
            return session.change(sequence, events.DELETE, {"object_id": object_id}, compute)

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
            return session.change(sequence, events.ACCEPT, {}, compute)

    def close(self, session_id: str) -> Event:
        """End the session and publish its instance map; again: the same result."""
        session = self.get(session_id)
        with session.lock:
            while session.state.closing is None:
                require_idle(session.state)
                event = Event(events.CLOSE, {}, self._result(session))
                if session.log.append(session.state.sequence, event):
                    session.state.apply(event)
                else:
                    session.catch_up()
            return session.state.closing

    def _result(self, session: Session) -> dict[str, Any]:
        state, w = session.state, session.state.window
        pixels = np.ascontiguousarray(session.material.image[w.y : w.y + w.height, w.x : w.x + w.width])
        present, contiguous = np.unique(np.append(0, state.canvas_HW), return_inverse=True)
        instances_HW = contiguous[1:].reshape(state.canvas_HW.shape).astype(np.int32)
        return {
            "result": self._publisher(pixels, instances_HW, session.request),
            "clicks": state.clicks_spent,
            "nuclei": len(present) - 1,
            "seconds": max(time.time() - state.opened_at, 0.0),
        }

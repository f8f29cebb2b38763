"""Sessions as calls: each call checks, computes, writes one event, and moves the state on."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nucleate import errors
from nucleate.interactive import events
from nucleate.interactive.clicks import Click
from nucleate.interactive.events import Event, EventStore, SessionLog
from nucleate.interactive.predictor import Predictor
from nucleate.interactive.state import Box, SessionState, click_outcome, mask_to_json

MOST_CLICKS = 64
MOST_WINDOW_PIXELS = 4096 * 4096


@dataclass(frozen=True, eq=False)
class Material:
    """What a session is opened on; the predictor has its image set."""

    image: NDArray[np.uint8]
    window: Box
    proposals: NDArray[np.int32] | None
    predictor: Predictor


def material_for(
    name: str,
    image_HW3: NDArray[np.uint8],
    window: Box | None,
    proposals_HW: NDArray[np.int32] | None,
    predictor: Predictor,
) -> Material:
    """Check that window and proposals fit the image and give the image to the predictor; no window = the whole image.

    Raises:
        errors.SizeMismatch: the proposals have another size than the image.
        errors.InvalidInput: the window is empty or reaches beyond the image.
        errors.TooLarge: the window has more than 4096 x 4096 pixels.
    """
    height, width = image_HW3.shape[:2]
    if proposals_HW is not None and proposals_HW.shape != (height, width):
        found = f"{proposals_HW.shape[1]} x {proposals_HW.shape[0]}"
        raise errors.SizeMismatch(f"{name} has {width} x {height} pixels, but its proposals have {found}")
    w = window or Box(0, 0, width, height)
    if not (w.width and w.height) or w.x + w.width > width or w.y + w.height > height:
        raise errors.InvalidInput(
            f"window of {w.width} x {w.height} pixels at ({w.x}, {w.y}) does not lie in {name} of {width} x {height} pixels"
        )
    if w.width * w.height > MOST_WINDOW_PIXELS:
        raise errors.TooLarge(f"window of {w.width} x {w.height} pixels: annotate at most 4096 x 4096 at a time")
    predictor.set_image(image_HW3)
    return Material(image_HW3, w, proposals_HW, predictor)


# From the text of an open request to what it names, so that any replica can take a session up.
Opener = Callable[[str], Material]
# Stores the window's pixels and its instance map; the text is what CloseSession answers with.
Publisher = Callable[[NDArray[np.uint8], NDArray[np.int32], str], str]


class Session:
    """One session in this replica; another replica may be ahead of it."""

    def __init__(self, log: SessionLog, request: str, material: Material) -> None:
        self.log, self.request, self.material = log, request, material
        self.state = SessionState(material.window, material.proposals)
        self.lock = threading.Lock()

    def catch_up(self) -> None:
        """Apply what other replicas have written."""
        while event := self.log.read(self.state.sequence):
            self.state.apply(event)

    def change(self, sequence: int, kind: str, arguments: Mapping[str, Any], compute: Callable[[], Mapping[str, Any]]) -> Event:
        """Write event `sequence`; the same call again gets the event that it wrote the first time.

        Raises:
            errors.SessionConflict: another call has written that event, or the log is shorter than `sequence`.
            errors.Precondition: the session is closed.
        """
        if sequence > self.state.sequence:
            self.catch_up()
        if sequence > self.state.sequence:
            raise errors.SessionConflict(self._moved(sequence))
        if sequence < self.state.sequence:
            return self._written(sequence, kind, arguments)
        if self.state.closing:
            raise errors.Precondition(f"session {self.log.session_id} is closed: open a new one")
        event = Event(kind, arguments, compute())
        if not self.log.append(sequence, event):
            self.catch_up()
            return self._written(sequence, kind, arguments)
        self.state.apply(event)
        return event

    def _written(self, sequence: int, kind: str, arguments: Mapping[str, Any]) -> Event:
        written = self.log.read(sequence)
        if written is None or (written.kind, written.arguments) != (kind, arguments):
            if self.state.closing:
                raise errors.Precondition(f"session {self.log.session_id} is closed: open a new one")
            raise errors.SessionConflict(self._moved(sequence))
        return written

    def _moved(self, sequence: int) -> str:
        at = self.state.sequence
        return f"session {self.log.session_id} is at sequence {at}, the call says {sequence}: read the session and try again"


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
            return _predict(session, click)

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
            _require_idle(session.state)
            return {"mask": mask_to_json(_object_mask(session, object_id))}

        with session.lock:
            return session.change(sequence, events.SELECT, {"object_id": object_id}, compute)

    def delete(self, session_id: str, sequence: int, object_id: int) -> Event:
        """Drop an object, the one in work included; counts as one click."""
        session = self._find(session_id)

        def compute() -> Mapping[str, Any]:
            work = session.state.work
            if not (work and work.object_id == object_id):
                _object_mask(session, object_id)
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
                _require_idle(session.state)
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


def _predict(session: Session, click: Click) -> Mapping[str, Any]:
    """Check a click and run the network on it."""
    state, w = session.state, session.state.window
    if not w.holds(click.x, click.y):
        raise errors.InvalidInput(
            f"click ({click.x}, {click.y}) is outside the window of {w.width} x {w.height} pixels at ({w.x}, {w.y})"
        )
    if click.positive and (owner := state.owner(click.x, click.y)):
        raise errors.InvalidInput(
            f"click ({click.x}, {click.y}) lies on object {owner}, which is finished: select it to correct it, or delete it"
        )
    steps = state.work.steps if state.work else []
    if len(steps) >= MOST_CLICKS:
        raise errors.TooLarge(
            f"object {state.next_object_id} has {MOST_CLICKS} clicks, the most there may be: accept or delete it"
        )
    start = time.perf_counter()
    clicks = [step.click for step in steps] + [click]
    previous = state.work.mask if state.work else None
    delta = steps[-1].delta if steps else None
    prediction = session.material.predictor.predict(clicks, previous, delta, state.blocked())
    return click_outcome(state.next_object_id, prediction, 1000 * (time.perf_counter() - start))


def _require_idle(state: SessionState) -> None:
    """An object with clicks must be accepted first; one only selected goes back as it was."""
    if state.work and state.work.steps:
        raise errors.Precondition(f"object {state.work.object_id} is in work: accept it, undo its clicks or delete it first")


def _object_mask(session: Session, object_id: int) -> Any:
    found = session.state.objects.get(object_id)
    if found is None:
        raise errors.NotFound(f"session {session.log.session_id} has no object {object_id}")
    return found.mask

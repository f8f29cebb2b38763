"""One session in one replica: its inputs, its state, and the rule by which events are appended."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nucleate import errors
from nucleate.interactive.object_mask import ObjectMask
from nucleate.interactive.sessions.event_log import Event, SessionLog
from nucleate.interactive.sessions.objects import Box
from nucleate.interactive.sessions.proposals import cut_proposals
from nucleate.interactive.sessions.session_input import SessionInput
from nucleate.interactive.sessions.state import SessionState


@dataclass(frozen=True)
class Limits:
    """Of one session: clicks on an object, objects, log entries, and seconds without a change after which it has expired."""

    clicks: int = 64
    objects: int = 20_000
    events: int = 20_000
    seconds: float = 30 * 86400.0


class Session:
    """One session in this replica; another replica may be ahead of it. Use it under its `lock`."""

    def __init__(self, log: SessionLog, request: str, inputs: SessionInput, limits: Limits, state: SessionState) -> None:
        self.log, self.request, self.inputs, self.limits = log, request, inputs, limits
        self.state = state
        self.lock = threading.Lock()

    def catch_up(self) -> None:
        """Apply what other replicas have written."""
        for event in self.log.follow(self.state.sequence):
            self.state.apply(event)

    def require_unexpired(self) -> None:
        """Refuse what has expired; a closed session stays readable.

        Raises:
            errors.SessionExpired: nothing has changed it for too long.
        """
        idle = time.time() - self.state.modified_at
        if idle > self.limits.seconds and not self.state.closing:
            days = idle / 86400
            raise errors.SessionExpired(f"session {self.log.session_id} expired, idle for {days:.1f} days: open a new one")

    def accepts_sequence(self, sequence: int) -> bool:
        """Whether event `sequence` can be appended; False: that event has been written.

        Raises:
            errors.SessionConflict: the log is shorter than `sequence`.
            errors.SessionExpired: nothing has changed it for too long.
            errors.Precondition: the session is closed.
            errors.TooLarge: its log is full.
        """
        if sequence >= self.state.sequence:
            idle = time.time() - self.state.modified_at > self.limits.seconds
            if idle or sequence > self.state.sequence:
                self.catch_up()
        if sequence > self.state.sequence:
            raise errors.SessionConflict(self._conflict_message(sequence))
        if sequence < self.state.sequence:
            return False
        self.require_unexpired()
        if self.state.closing:
            raise errors.Precondition(f"session {self.log.session_id} is closed: open a new one")
        if sequence >= self.limits.events:
            raise errors.TooLarge(f"session {self.log.session_id} has {sequence} changes, the most there may be: close it")
        return True

    def change(self, sequence: int, kind: str, arguments: Mapping[str, Any], compute: Callable[[], Mapping[str, Any]]) -> Event:
        """Write event `sequence`; the same call again gets the event that it wrote the first time.

        Raises:
            errors.SessionConflict: another call has written that event, or the log is shorter than `sequence`.
            And what `accepts_sequence` and `compute` raise; nothing is written then.
        """
        if not self.accepts_sequence(sequence):
            return self._existing_event(sequence, kind, arguments)
        event = Event(kind, arguments, compute())
        if not self.log.append(sequence, event):
            self.catch_up()
            return self._existing_event(sequence, kind, arguments)
        self.state.apply(event)
        return event

    def _existing_event(self, sequence: int, kind: str, arguments: Mapping[str, Any]) -> Event:
        written = self.log.read(sequence)
        if written is None or (written.kind, written.arguments) != (kind, arguments):
            if self.state.closing:
                raise errors.Precondition(f"session {self.log.session_id} is closed: open a new one")
            raise errors.SessionConflict(self._conflict_message(sequence))
        return written

    def _conflict_message(self, sequence: int) -> str:
        at = self.state.sequence
        return f"session {self.log.session_id} is at sequence {at}, the call says {sequence}: read the session and try again"


def initial_state(
    name: str, image_HW3: NDArray[np.uint8], window: Box, proposals_HW: NDArray[np.int32] | None, limits: Limits
) -> SessionState:
    """State of a new session, started with the proposals.

    Raises:
        errors.SizeMismatch: the proposals have another size than the image.
        errors.TooLarge: more proposals than a session may have objects.
    """
    if proposals_HW is None:
        return SessionState(window)
    require_same_size(name, image_HW3, proposals_HW)
    masks = list(cut_proposals(proposals_HW, window))
    require_capacity(limits, 0, len(masks))
    return SessionState(window, masks)


def require_same_size(name: str, image_HW3: NDArray[np.uint8], proposals_HW: NDArray[np.int32]) -> None:
    """Refuse proposals of another size than the image, which is called `name`."""
    (height, width), found = image_HW3.shape[:2], proposals_HW.shape
    if found != (height, width):
        raise errors.SizeMismatch(f"{name} has {width} x {height} pixels, but its proposals have {found[1]} x {found[0]}")


def require_capacity(limits: Limits, present: int, more: int) -> None:
    """Refuse objects beyond the limit."""
    if present + more > limits.objects:
        raise errors.TooLarge(
            f"{present} objects and {more} more: a session takes at most {limits.objects}, open one on a smaller window"
        )


def require_idle(state: SessionState) -> None:
    """An object with clicks must be accepted first; one only selected goes back as it was."""
    if state.active and state.active.steps:
        raise errors.Precondition(f"object {state.active.object_id} is in work: accept it, undo its clicks or delete it first")


def object_mask(session: Session, object_id: int) -> ObjectMask:
    """Mask of a finished object."""
    found = session.state.objects.get(object_id)
    if found is None:
        raise errors.NotFound(f"session {session.log.session_id} has no object {object_id}")
    return found.mask

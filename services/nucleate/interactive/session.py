"""One session in one replica: its material, its state, and the rule by which it moves on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nucleate import errors
from nucleate.interactive.clicks import Click
from nucleate.interactive.events import Event, SessionLog
from nucleate.interactive.masks import ObjectMask
from nucleate.interactive.predictor import Predictor
from nucleate.interactive.state import Box, SessionState, click_outcome

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


def predict_click(session: Session, click: Click) -> Mapping[str, Any]:
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


def require_idle(state: SessionState) -> None:
    """An object with clicks must be accepted first; one only selected goes back as it was."""
    if state.work and state.work.steps:
        raise errors.Precondition(f"object {state.work.object_id} is in work: accept it, undo its clicks or delete it first")


def object_mask(session: Session, object_id: int) -> ObjectMask:
    """Mask of a finished object."""
    found = session.state.objects.get(object_id)
    if found is None:
        raise errors.NotFound(f"session {session.log.session_id} has no object {object_id}")
    return found.mask

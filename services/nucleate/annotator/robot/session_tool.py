"""The annotation tool that the robot works with: a session of the interactive service, in window pixels."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from nucleate.annotator.robot.oracle import Mask
from nucleate.annotator.robot.routine import SessionSnapshot
from nucleate.errors import Overloaded
from nucleate.runtime.channels import DEADLINE_SECONDS, call
from nucleate.v1 import common_pb2, interactive_pb2_grpc
from nucleate.v1 import interactive_pb2 as pb

Stub = interactive_pb2_grpc.InteractiveServiceStub
T = TypeVar("T")

OPEN_SECONDS = 120.0  # the first session on a model loads it


@dataclass(frozen=True, eq=False)
class ClickResult:
    """The outcome of one click.

    `honoured_by_network` counts the object's clicks that the network's probability alone has on their side; `milliseconds` is
    the service's own time, `call_milliseconds` what the caller waited.
    """

    object_id: int
    mask: Mask
    honoured_by_network: int
    evaluations: int
    milliseconds: float
    call_milliseconds: float


def call_with_retry(method: Callable[..., T], request: Any, timeout: float = DEADLINE_SECONDS) -> T:
    """Make a call; while the service has too much to do, wait as long as it says and make it again, for `timeout` seconds."""
    until = time.monotonic() + timeout
    while True:
        try:
            return call(method, request, timeout)
        except Overloaded as busy:
            if time.monotonic() + busy.retry_after > until:
                raise
            time.sleep(busy.retry_after)


def open_session(stub: Stub, request: pb.OpenSessionRequest) -> SessionTool:
    """Open a session, or take up the one that was opened with the same request."""
    return SessionTool(stub, call_with_retry(stub.OpenSession, request, OPEN_SECONDS).session)


class SessionTool:
    """One open session; nobody else writes to it."""

    def __init__(self, stub: Stub, session: pb.Session) -> None:
        self._stub, self._id, self._sequence = stub, session.session_id, session.sequence
        self.window, self.closed = session.window, session.closed

    def view(self) -> SessionSnapshot:
        """Read the session."""
        session = call_with_retry(self._stub.GetSession, pb.GetSessionRequest(session_id=self._id)).session
        self._sequence = session.sequence
        objects_HW = np.zeros((self.window.height, self.window.width), np.int32)
        active_HW = np.zeros(objects_HW.shape, bool)
        for found in session.objects:
            mask_HW = self._mask(found.mask)
            if found.object_id == session.object_id:
                active_HW = mask_HW
            else:
                objects_HW[mask_HW] = found.object_id
        clicks = [(c.x - self.window.x, c.y - self.window.y, c.positive) for c in session.clicks]
        clicked_ids = {found.object_id for found in session.objects if found.clicks}
        return SessionSnapshot(objects_HW, clicked_ids, session.object_id, active_HW, clicks)

    def propose(self, instances: common_pb2.Blob | None) -> None:
        """Add the objects of an instance map of the whole image; None = of the classical segmentation."""
        request = pb.ProposeRequest(session_id=self._id, sequence=self._sequence, instances=instances)
        if instances is None:
            request.classical.SetInParent()
        self._sequence = call_with_retry(self._stub.Propose, request, OPEN_SECONDS).sequence

    def click(self, x: int, y: int, *, positive: bool) -> Mask:
        """Click."""
        return self.click_with_result(x, y, positive=positive).mask

    def click_with_result(self, x: int, y: int, *, positive: bool) -> ClickResult:
        """Click; return all of the outcome."""
        placed = pb.PlacedClick(x=x + self.window.x, y=y + self.window.y, positive=positive)
        request = pb.ClickRequest(session_id=self._id, sequence=self._sequence, click=placed)
        began = time.perf_counter()
        answer = call_with_retry(self._stub.Click, request)
        waited = 1000 * (time.perf_counter() - began)
        self._sequence = answer.sequence
        by_network = sum(answer.honoured_by_network)
        return ClickResult(
            answer.object_id,
            self._mask(answer.mask),
            by_network,
            answer.optimizer_evaluations,
            answer.milliseconds,
            waited,
        )

    def undo(self) -> None:
        """Take back the last call that changed the session."""
        self._sequence = call_with_retry(self._stub.Undo, pb.UndoRequest(session_id=self._id, sequence=self._sequence)).sequence

    def select(self, object_id: int) -> Mask:
        """Take an object back into work."""
        request = pb.SelectObjectRequest(session_id=self._id, sequence=self._sequence, object_id=object_id)
        answer = call_with_retry(self._stub.SelectObject, request)
        self._sequence = answer.sequence
        return self._mask(answer.mask)

    def delete(self, object_id: int) -> None:
        """Drop an object."""
        request = pb.DeleteObjectRequest(session_id=self._id, sequence=self._sequence, object_id=object_id)
        self._sequence = call_with_retry(self._stub.DeleteObject, request).sequence

    def accept(self) -> int:
        """Finish the object in work."""
        answer = call_with_retry(self._stub.Accept, pb.AcceptRequest(session_id=self._id, sequence=self._sequence))
        self._sequence = answer.sequence
        return int(answer.object_id)

    def close(self) -> pb.CloseSessionResponse:
        """End the session."""
        closed: pb.CloseSessionResponse = call_with_retry(self._stub.CloseSession, pb.CloseSessionRequest(session_id=self._id))
        return closed

    def _mask(self, mask: pb.Mask) -> Mask:
        """Run lengths to a mask of the window."""
        mask_HW = np.zeros((self.window.height, self.window.width), bool)
        if mask.runs:
            box, odd = mask.box, np.arange(len(mask.runs)) % 2 == 1
            y, x = box.y - self.window.y, box.x - self.window.x
            mask_HW[y : y + box.height, x : x + box.width] = np.repeat(odd, mask.runs).reshape(box.height, box.width)
        return mask_HW

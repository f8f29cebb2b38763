"""An interactive service without a network: a click gives a small square, and calls fail, or are late, as scripted."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from nucleate import errors
from nucleate.runtime.error_table import status_of
from nucleate.runtime.server import RunningServer, ServiceSettings, start_server
from nucleate.v1 import common_pb2
from nucleate.v1 import interactive_pb2 as pb
from nucleate.v1 import interactive_pb2_grpc as pb_grpc

SIZE = 64
LOSE = errors.Unreachable("the answer is lost on its way")  # raised after the call has had its effect


def square(x: int, y: int, half: int) -> pb.Mask:
    left, top, right, bottom = max(x - half, 0), max(y - half, 0), min(x + half + 1, SIZE), min(y + half + 1, SIZE)
    width, height = right - left, bottom - top
    return pb.Mask(box=common_pb2.Window(x=left, y=top, width=width, height=height), runs=[0, width * height])


@dataclass
class State:
    """Objects by id as (mask, clicks); `work` is (id, clicks, mask before)."""

    objects: dict[int, tuple[pb.Mask, int]] = field(default_factory=dict)
    work: tuple[int, list[pb.PlacedClick], pb.Mask] | None = None
    next_id: int = 1

    def mask(self) -> pb.Mask:
        assert self.work
        _, clicks, before = self.work
        return square(clicks[0].x, clicks[0].y, len(clicks)) if clicks else before


class Scripted(pb_grpc.InteractiveServiceServicer):
    """`script` holds what the next calls that change a session fail with; `seen` what was asked."""

    def __init__(self) -> None:
        self.log: list[tuple[Any, Any]] = []
        self.state, self.past, self.future = State(), [], []
        self.script: list[Exception | float] = []  # errors, or seconds to wait before going on
        self.seen: list[str] = []
        self.images: dict[str, bytes] = {}
        self.opened: pb.OpenSessionRequest | None = None
        self.closed = False
        self.streams = 0

    def PutImage(self, requests: Iterator[pb.PutImageRequest], context: Any) -> pb.PutImageResponse:
        messages = list(requests)
        assert all(len(message.chunk) <= 1 << 20 for message in messages)
        self._fail()
        self.images[messages[0].id] = b"".join(message.chunk for message in messages)
        image = common_pb2.Image(id=messages[0].id, data=common_pb2.Blob(uri="sha256/ab/abc"))
        return pb.PutImageResponse(image=image, width=SIZE, height=SIZE)

    def OpenSession(self, request: pb.OpenSessionRequest, context: Any) -> pb.OpenSessionResponse:
        self._fail()
        if self.opened is None or self.opened.session_id != request.session_id:
            Scripted.__init__(self)
        self.opened = request
        return pb.OpenSessionResponse(session=self._session())

    def GetSession(self, request: pb.GetSessionRequest, context: Any) -> pb.GetSessionResponse:
        self.seen.append("GetSession")
        if self.opened is None or request.session_id != self.opened.session_id:
            raise errors.NotFound(f"there is no session {request.session_id}")
        return pb.GetSessionResponse(session=self._session())

    def CloseSession(self, request: pb.CloseSessionRequest, context: Any) -> pb.CloseSessionResponse:
        if self.state.work:
            raise errors.Precondition("an object is in work")
        self.closed = True
        return pb.CloseSessionResponse(clicks=7, nuclei=len(self.state.objects), seconds=1.5)

    def Interact(self, requests: Iterator[pb.InteractRequest], context: Any) -> Iterator[pb.InteractResponse]:
        self.streams += 1
        names = {"click": "Click", "click_many": "ClickMany", "propose": "Propose", "undo": "Undo", "redo": "Redo"}
        names |= {"select": "SelectObject", "delete": "DeleteObject", "accept": "Accept"}
        for request in requests:
            kind = request.WhichOneof("call")
            answer = pb.InteractResponse(request_id=request.request_id)
            try:
                getattr(answer, kind).CopyFrom(getattr(self, names[kind])(getattr(request, kind), context))
            except errors.Unreachable:
                raise  # breaks the stream
            except errors.NucleateError as error:
                code, message = status_of(error)
                after = round(1000 * error.retry_after) if isinstance(error, errors.Overloaded) else 0
                told = pb.CallError(code=code.value[0], message=message, retry_after=after, name=type(error).__name__)
                answer.error.CopyFrom(told)
            yield answer

    def Click(self, request: pb.ClickRequest, context: Any) -> pb.ClickResponse:
        def change(state: State) -> pb.ClickResponse:
            if not request.click.positive and not state.work:
                raise errors.InvalidInput("the first click must be positive")
            if state.work is None:
                state.work, state.next_id = (state.next_id, [], pb.Mask()), state.next_id + 1
            state.work[1].append(request.click)
            values = b"\x80" * 4 if request.probability else b""
            return pb.ClickResponse(
                object_id=state.work[0],
                mask=state.mask(),
                confidence=0.75,
                clicks_obeyed=True,
                honoured=[True] * len(state.work[1]),
                milliseconds=5.0,
                spent=pb.Spent(refining=4.0),
                probability=pb.Probability(values=values) if request.probability else None,
            )

        return self._change(request, change)

    def ClickMany(self, request: pb.ClickManyRequest, context: Any) -> pb.ClickManyResponse:
        def change(state: State) -> pb.ClickManyResponse:
            found = []
            for click in request.clicks:
                if click.x >= SIZE:
                    found.append(pb.ClickedObject(refused="outside"))
                    continue
                state.objects[state.next_id] = (square(click.x, click.y, 1), 1)
                found.append(pb.ClickedObject(object_id=state.next_id, mask=square(click.x, click.y, 1), confidence=0.5))
                state.next_id += 1
            return pb.ClickManyResponse(objects=found)

        return self._change(request, change)

    def Propose(self, request: pb.ProposeRequest, context: Any) -> pb.ProposeResponse:
        def change(state: State) -> pb.ProposeResponse:
            assert request.WhichOneof("source") == "classical"
            state.objects[state.next_id] = (square(50, 50, 2), 0)
            state.next_id += 1
            return pb.ProposeResponse(objects=[pb.SessionObject(object_id=state.next_id - 1, mask=square(50, 50, 2))])

        return self._change(request, change)

    def Undo(self, request: pb.UndoRequest, context: Any) -> pb.UndoResponse:
        return self._change(request, lambda _: pb.UndoResponse(change=self._turn(self.past, self.future)), turning=True)

    def Redo(self, request: pb.RedoRequest, context: Any) -> pb.RedoResponse:
        return self._change(request, lambda _: pb.RedoResponse(change=self._turn(self.future, self.past)), turning=True)

    def SelectObject(self, request: pb.SelectObjectRequest, context: Any) -> pb.SelectObjectResponse:
        def change(state: State) -> pb.SelectObjectResponse:
            if request.object_id not in state.objects:
                raise errors.NotFound(f"no object {request.object_id}")
            state.work = (request.object_id, [], state.objects[request.object_id][0])
            return pb.SelectObjectResponse(mask=state.mask())

        return self._change(request, change)

    def DeleteObject(self, request: pb.DeleteObjectRequest, context: Any) -> pb.DeleteObjectResponse:
        def change(state: State) -> pb.DeleteObjectResponse:
            state.objects.pop(request.object_id, None)
            if state.work and state.work[0] == request.object_id:
                state.work = None
            return pb.DeleteObjectResponse()

        return self._change(request, change)

    def Accept(self, request: pb.AcceptRequest, context: Any) -> pb.AcceptResponse:
        def change(state: State) -> pb.AcceptResponse:
            if state.work is None:
                raise errors.Precondition("no object is in work")
            number, clicks, _ = state.work
            before = state.objects.get(number, (None, 0))[1]
            state.objects[number] = (state.mask(), before + len(clicks))
            state.work = None
            return pb.AcceptResponse(object_id=number)

        return self._change(request, change)

    def _turn(self, source: list[State], target: list[State]) -> pb.Change:
        if not source:
            raise errors.Precondition("there is nothing to take back")
        target.append(self.state)
        before, self.state = self.state.objects, source.pop()
        after, work = self.state.objects, self.state.work
        changed = [
            pb.SessionObject(object_id=number, mask=mask, clicks=clicks)
            for number, (mask, clicks) in after.items()
            if before.get(number) != (mask, clicks)
        ]
        change = pb.Change(changed=changed, removed=before.keys() - after.keys())
        if work:
            change.object_id, mask = work[0], self.state.mask()
            change.mask.CopyFrom(mask)
            change.clicks.extend(work[1])
        return change

    def _change(self, request: Any, change: Any, *, turning: bool = False) -> Any:
        self.seen.append(type(request).__name__.removesuffix("Request"))
        lost = bool(self.script) and self.script[0] is LOSE
        if not lost:
            self._fail()
        sequence = request.sequence - 1
        if sequence < len(self.log):
            asked, answer = self.log[sequence]
            if asked != request:
                raise errors.SessionConflict(f"the session is at {len(self.log) + 1}")
            return answer
        state = copy.deepcopy(self.state)
        answer = change(state)
        if not turning:
            self.past.append(self.state)
            self.future.clear()
            self.state = state
        answer.sequence = request.sequence + 1
        self.log.append((request, answer))
        if lost:
            self._fail()
        return answer

    def _fail(self) -> None:
        if self.script:
            item = self.script.pop(0)
            if isinstance(item, Exception):
                raise item
            time.sleep(item)

    def _session(self) -> pb.Session:
        assert self.opened
        shown = dict(self.state.objects)
        number, clicks = 0, []
        if self.state.work:
            number, clicks, _ = self.state.work
            shown[number] = (self.state.mask(), shown.get(number, (None, 0))[1] + len(clicks))
        return pb.Session(
            session_id=self.opened.session_id,
            window=self.opened.window if self.opened.HasField("window") else common_pb2.Window(width=SIZE, height=SIZE),
            objects=[pb.SessionObject(object_id=i, mask=mask, clicks=n) for i, (mask, n) in sorted(shown.items())],
            object_id=number,
            clicks=clicks,
            sequence=len(self.log) + 1,
            closed=self.closed,
        )


@contextmanager
def serving(store: Path, servicer: Scripted, **settings: Any) -> Iterator[RunningServer]:
    def register(server: grpc.Server, _context: Any) -> None:
        pb_grpc.add_InteractiveServiceServicer_to_server(servicer, server)

    settings = {"store": store.as_uri(), "drain_seconds": 0.2, "log_level": "error"} | settings
    server = start_server("interactive", register, ServiceSettings(**settings))
    yield server
    server.stop()

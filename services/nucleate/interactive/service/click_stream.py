"""The stream of clicks: the unary calls, one after another, each answered in its turn."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import grpc

from nucleate import errors
from nucleate.runtime.error_table import status_of
from nucleate.v1 import interactive_pb2 as pb

M = TypeVar("M")
Call = Callable[[Any, grpc.ServicerContext], Any]
_RETRY_SECONDS = 5.0
_UNKNOWN = errors.InvalidInput("the request holds no call that this service knows")


def read_stream(requests: Iterable[M]) -> Iterator[M]:
    """The messages of a stream.

    Raises:
        errors.Cancelled: the caller has gone before the end.
    """
    try:
        yield from requests
    except grpc.RpcError:
        raise errors.Cancelled("the caller has gone") from None


class ClickStreams:
    """At most `max_streams` streams at a time, as each holds a thread. `calls` has the unary call of each request."""

    def __init__(self, calls: Mapping[str, Call], max_streams: int) -> None:
        self._calls, self._max_streams, self._open = calls, max_streams, 0
        self._lock = threading.Lock()

    @property
    def streams(self) -> int:
        """Streams that are open."""
        return self._open

    def answer(self, requests: Iterable[pb.InteractRequest], context: grpc.ServicerContext) -> Iterator[pb.InteractResponse]:
        """Answer call by call, errors included; what the caller leaves unread is not computed ahead.

        Raises:
            errors.Overloaded: too many streams are open.
        """
        with self._open_stream():
            try:
                for request in read_stream(requests):
                    yield self._answer_one(request, context)
            except errors.Cancelled:
                return

    def _answer_one(self, request: pb.InteractRequest, context: grpc.ServicerContext) -> pb.InteractResponse:
        kind = request.WhichOneof("call")
        try:
            answer: dict[str, Any] = {"error": call_error(_UNKNOWN)}
            if kind:
                answer = {kind: self._calls[kind](getattr(request, kind), context)}
        except errors.Cancelled:
            raise
        except Exception as error:  # noqa: BLE001 - the table hides and logs what is no domain error; the stream goes on
            answer = {"error": call_error(error)}
        return pb.InteractResponse(request_id=request.request_id, **answer)

    @contextmanager
    def _open_stream(self) -> Iterator[None]:
        with self._lock:
            if self._open >= self._max_streams:
                raise errors.Overloaded(f"{self._open} streams are open already: call again later", _RETRY_SECONDS)
            self._open += 1
        try:
            yield
        finally:
            with self._lock:
                self._open -= 1


def call_error(error: Exception) -> pb.CallError:
    """The status a unary call would have ended with."""
    code, message = status_of(error)
    number: tuple[int, str] = code.value
    return pb.CallError(
        code=number[0],
        message=message,
        retry_after=round(1000 * error.retry_after) if isinstance(error, errors.Overloaded) else 0,
        name=type(error).__name__ if isinstance(error, errors.NucleateError) else "",
    )

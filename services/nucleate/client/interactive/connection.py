"""Blocking calls: one at a time, or in order on a stream."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

import grpc

from nucleate.client.interactive.endpoint import Endpoint, deadline_error, read_answer, stream_ended_error
from nucleate.client.interactive.retries import Reachability, RetrySchedule
from nucleate.client.interactive.session_state import Call
from nucleate.errors import NucleateError
from nucleate.runtime.channels import CHANNEL_OPTIONS
from nucleate.runtime.error_table import rpc_error_to_domain
from nucleate.runtime.security import channel_credentials
from nucleate.v1 import interactive_pb2 as pb
from nucleate.v1 import interactive_pb2_grpc

T = TypeVar("T")


class Connection:
    """A channel to the service and what is known of it."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint, self.reachability = endpoint, Reachability()
        credentials, options = channel_credentials(endpoint.settings), CHANNEL_OPTIONS
        address = endpoint.address
        self._channel = grpc.secure_channel(address, credentials, options) if credentials else _plain(address)
        self._stub: Any = interactive_pb2_grpc.InteractiveServiceStub(self._channel)

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()

    def repeat(self, attempt: Callable[[float], T], retry_s: float, deadline_s: float | None = None) -> T:
        """Make attempts for `retry_s` seconds, until one succeeds or fails for good.

        Each is told how many seconds are left to `deadline_s`, which is later where answers take long.
        """
        schedule = RetrySchedule(self.reachability, retry_s, deadline_s or retry_s)
        while True:
            try:
                answer = attempt(schedule.remaining_s)
            except NucleateError as error:
                time.sleep(schedule.backoff_s(error))
            else:
                self.reachability.reached = True
                return answer

    def call(self, rpc: str, request: Any, timeout_s: float) -> Any:
        """Make one attempt at an RPC; raise domain errors."""
        try:
            return getattr(self._stub, rpc)(request, timeout=timeout_s, metadata=self.endpoint.metadata)
        except grpc.RpcError as error:
            raise rpc_error_to_domain(error) from None

    def interact(self, requests: Any) -> Any:
        """Begin a stream of calls; return the call, which yields the answers."""
        return self._stub.Interact(requests, metadata=self.endpoint.metadata)


class UnaryTransport:
    """Sends each call of a session by itself."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def send(self, call: Call[Any], timeout_s: float) -> Any:
        """Return the answer, or raise domain errors."""
        return self._connection.call(call.rpc, call.request, timeout_s)

    def close(self) -> None:
        """Nothing is held."""


class StreamTransport:
    """Sends the calls of a session on one stream, which is begun anew when it is lost."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._last_id = 0
        self._call: Any = None
        self._out: SimpleQueue[pb.InteractRequest | None] = SimpleQueue()
        self._in: SimpleQueue[pb.InteractResponse | NucleateError] = SimpleQueue()

    def send(self, call: Call[Any], timeout_s: float) -> Any:
        """Return the answer, or raise domain errors."""
        self._begin()
        self._last_id += 1
        request = pb.InteractRequest(request_id=self._last_id, **{call.field: call.request})
        self._out.put(request)
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                answer = self._in.get(timeout=max(deadline - time.monotonic(), 0))
            except Empty:
                answer = deadline_error()
            if isinstance(answer, NucleateError):
                self._call.cancel()
                self.close()
                raise answer
            if answer.request_id == self._last_id:  # an older answer is that of a call somebody interrupted
                return read_answer(answer, call.field)

    def close(self) -> None:
        """End the stream; what is under way may still be answered, but nobody listens."""
        self._out.put(None)
        self._call = None

    def _begin(self) -> None:
        if self._call is None:
            self._out, self._in = SimpleQueue(), SimpleQueue()
            self._call = self._connection.interact(iter(self._out.get, None))
            threading.Thread(target=_receive, args=(self._call, self._in), name="nucleate-answers", daemon=True).start()


def _receive(call: Any, answers: SimpleQueue[pb.InteractResponse | NucleateError]) -> None:
    """Hand answers on: gRPC's blocking iterator cannot be waited for with a deadline."""
    try:
        for answer in call:
            answers.put(answer)
    except grpc.RpcError as error:
        answers.put(rpc_error_to_domain(error))
    else:
        answers.put(stream_ended_error())


def _plain(address: str) -> grpc.Channel:
    return grpc.insecure_channel(address, CHANNEL_OPTIONS)

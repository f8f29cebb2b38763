"""Calls to one service: deadlines on unary calls, re-attached streams, errors in words."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

import grpc

from nucleate.errors import NucleateError, StoreUnreachable, Unreachable
from nucleate.runtime.channels import connect, rpc_error_to_domain
from nucleate.runtime.error_table import ERROR_KEY
from nucleate.v1 import common_pb2, jobs_pb2, jobs_pb2_grpc

CALL_SECONDS = 30.0
#: How long a stream's service may be away: at first contact, and once it has been heard.
FIRST_PATIENCE_S = 5.0
PATIENCE_S = 60.0

Stub = TypeVar("Stub")
Note = Callable[[str], None]
OnProgress = Callable[[common_pb2.Progress], None]


class Remote(Generic[Stub]):
    """One service at "host:port". `note` is told, in a line for people, when its connection is lost and found again."""

    def __init__(self, service: str, endpoint: str, factory: Callable[[grpc.Channel], Stub], note: Note | None = None) -> None:
        self.service = service
        self.endpoint = endpoint
        self.patience_s = PATIENCE_S
        self.first_patience_s = FIRST_PATIENCE_S
        self._channel = connect(endpoint)
        self._note = note or (lambda _: None)
        self.stub = factory(self._channel)

    def call(self, method: Callable[..., Any], request: Any, timeout_s: float = CALL_SECONDS) -> Any:
        """Make a unary call; raise the domain error that its status stands for."""
        try:
            return method(request, timeout=timeout_s)
        except grpc.RpcError as error:
            raise self._domain(error) from None

    def events(self, method: Callable[..., Any], request: Any) -> Iterator[Any]:
        """Yield a stream's messages; call again with the same request while the service is away, for a bounded time.

        Raises:
            Unreachable: the service stayed away for `patience_s` (`first_patience_s` if it was never heard).
        """
        patience_s, lost_at, tries = self.first_patience_s, 0.0, 0
        while True:
            call = method(request)
            try:
                for event in call:
                    if tries > 1:
                        self._note(f"{self.service} is back")
                    patience_s, lost_at, tries = self.patience_s, 0.0, 0
                    yield event
            except grpc.RpcError as error:
                lost_at = lost_at or time.monotonic()
                if not _worth_another_try(error) or time.monotonic() - lost_at > patience_s:
                    raise self._domain(error) from None
                tries += 1
                if tries == 2:  # a connection that comes back at once is not worth a word
                    self._note(f"{self.service} at {self.endpoint} does not answer; trying again for {patience_s:.0f} s")
            else:
                return
            finally:
                call.cancel()
            time.sleep(min(0.1 * 2**tries, 5.0))

    def follow(self, method: Callable[..., Any], request: Any, on_progress: OnProgress) -> Any:
        """Start or re-attach the job `request.job_id` and return its result; on Ctrl-C the job is cancelled.

        Raises:
            NucleateError: what the job failed of.
        """
        try:
            for event in self.events(method, request):
                kind = event.WhichOneof("event")
                if kind == "result":
                    return event.result
                if kind == "progress":  # parts are in the result, too
                    on_progress(event.progress)
        except KeyboardInterrupt:
            self._cancel(request.job_id)
            raise
        raise NucleateError(f"{self.service} ended job {request.job_id} without a result: see its log")

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()

    def _cancel(self, job_id: str) -> None:
        cancel = _jobs_stub(self._channel).CancelJob
        try:
            self.call(cancel, jobs_pb2.CancelJobRequest(job_id=job_id), timeout_s=3.0)
        except NucleateError:
            self._note(f"{self.service} could not be told to stop {job_id}")

    def _domain(self, error: grpc.RpcError) -> NucleateError:
        domain: NucleateError = rpc_error_to_domain(error)
        lost = error.code() is grpc.StatusCode.CANCELLED or type(domain) is Unreachable
        if lost and error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED and not _said_by_server(error):
            return Unreachable(f"{self.service} at {self.endpoint} cannot be reached: start it with `nucleate up`")
        return domain


def _said_by_server(error: grpc.RpcError) -> str:
    """Return the name of the domain error a server raised; "" if it is the connection that failed."""
    trailing: Any = error.trailing_metadata() or ()
    return str(dict(trailing).get(ERROR_KEY, ""))


def _worth_another_try(error: grpc.RpcError) -> bool:
    """Tell a lost connection or a stopping server (which ends its streams as CANCELLED) from an answer."""
    said = _said_by_server(error)
    if error.code() is grpc.StatusCode.UNAVAILABLE:
        return said != StoreUnreachable.__name__
    return error.code() is grpc.StatusCode.CANCELLED and not said


def _jobs_stub(channel: grpc.Channel) -> Any:
    factory: Callable[[grpc.Channel], Any] = jobs_pb2_grpc.JobsServiceStub
    return factory(channel)

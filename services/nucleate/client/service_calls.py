"""Calls to one service: deadlines on unary calls, re-attached streams, domain errors."""

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
#: How long a stream's service may be unavailable: before its first answer, and afterwards.
CONNECT_TIMEOUT_S = 5.0
RECONNECT_TIMEOUT_S = 60.0

Stub = TypeVar("Stub")
Notify = Callable[[str], None]
OnProgress = Callable[[common_pb2.Progress], None]


class ServiceClient(Generic[Stub]):
    """One service at "host:port". `notify` gets a line to show when the connection is lost and found again."""

    def __init__(
        self, service: str, endpoint: str, factory: Callable[[grpc.Channel], Stub], notify: Notify | None = None
    ) -> None:
        self.service = service
        self.endpoint = endpoint
        self.reconnect_timeout_s = RECONNECT_TIMEOUT_S
        self.connect_timeout_s = CONNECT_TIMEOUT_S
        self._channel = connect(endpoint)
        self._notify = notify or (lambda _: None)
        self.stub = factory(self._channel)

    def call(self, method: Callable[..., Any], request: Any, timeout_s: float = CALL_SECONDS) -> Any:
        """Make a unary call; raise the domain error that its status stands for."""
        try:
            return method(request, timeout=timeout_s)
        except grpc.RpcError as error:
            raise self._domain_error(error) from None

    def events(self, method: Callable[..., Any], request: Any) -> Iterator[Any]:
        """Yield a stream's messages; call again with the same request while the service is unavailable, for a bounded time.

        Raises:
            Unreachable: no answer for `reconnect_timeout_s` (`connect_timeout_s` before the first one).
        """
        timeout_s, lost_at, tries = self.connect_timeout_s, 0.0, 0
        while True:
            call = method(request)
            try:
                for event in call:
                    if tries > 1:
                        self._notify(f"{self.service} is back")
                    timeout_s, lost_at, tries = self.reconnect_timeout_s, 0.0, 0
                    yield event
            except grpc.RpcError as error:
                lost_at = lost_at or time.monotonic()
                if not _is_retryable(error) or time.monotonic() - lost_at > timeout_s:
                    raise self._domain_error(error) from None
                tries += 1
                if tries == 2:  # a connection that comes back at once is not reported
                    self._notify(f"{self.service} at {self.endpoint} does not answer; trying again for {timeout_s:.0f} s")
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
            self._notify(f"{self.service} could not be told to stop {job_id}")

    def _domain_error(self, error: grpc.RpcError) -> NucleateError:
        domain: NucleateError = rpc_error_to_domain(error)
        disconnected = error.code() is grpc.StatusCode.CANCELLED or type(domain) is Unreachable
        if disconnected and error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED and not _server_error_name(error):
            return Unreachable(f"{self.service} at {self.endpoint} cannot be reached: start it with `nucleate up`")
        return domain


def _server_error_name(error: grpc.RpcError) -> str:
    """Return the name of the domain error a server raised; "" if it is the connection that failed."""
    trailing: Any = error.trailing_metadata() or ()
    return str(dict(trailing).get(ERROR_KEY, ""))


def _is_retryable(error: grpc.RpcError) -> bool:
    """Tell a lost connection or a stopping server (which ends its streams as CANCELLED) from an answer."""
    error_name = _server_error_name(error)
    if error.code() is grpc.StatusCode.UNAVAILABLE:
        return error_name != StoreUnreachable.__name__
    return error.code() is grpc.StatusCode.CANCELLED and not error_name


def _jobs_stub(channel: grpc.Channel) -> Any:
    factory: Callable[[grpc.Channel], Any] = jobs_pb2_grpc.JobsServiceStub
    return factory(channel)

"""Calls of the orchestrator to the services: one job at a time per run, retried while a service is unavailable."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, cast

import grpc
import structlog

from nucleate.errors import Unreachable
from nucleate.orchestrator.loop.runs_in_progress import RunInProgress
from nucleate.runtime.channels import connect, rpc_error_to_domain
from nucleate.runtime.error_table import ERROR_KEY
from nucleate.v1 import (
    annotator_pb2_grpc,
    colornorm_pb2_grpc,
    common_pb2,
    hovernet_pb2_grpc,
    interactive_pb2_grpc,
    jobs_pb2,
    jobs_pb2_grpc,
    refiner_pb2_grpc,
    synthesis_pb2_grpc,
)

_log = structlog.get_logger(__name__)
_STUBS: Mapping[str, Any] = {
    "synthesis": synthesis_pb2_grpc.SynthesisServiceStub,
    "refiner": refiner_pb2_grpc.RefinerServiceStub,
    "colornorm": colornorm_pb2_grpc.ColorNormServiceStub,
    "interactive": interactive_pb2_grpc.InteractiveServiceStub,
    "hovernet": hovernet_pb2_grpc.HoverNetServiceStub,
    "annotator": annotator_pb2_grpc.AnnotatorServiceStub,
}
_FIRST_BACKOFF = 0.25
_LONGEST_BACKOFF = 5.0
# A unary call of a session carries a small window; a service needs this long only while it loads a model.
_CALL_SECONDS = 120.0


class _RetryDeadline:
    """Backoff between attempts, and the deadline after which a service counts as unavailable.

    Work that gets further, or goes on for long, starts the time anew; a job that fails again and again at one place does not.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._outage_began: float | None = None
        self._attempted = time.monotonic()
        self._furthest_step: dict[str, int] = {}
        self._delay = _FIRST_BACKOFF

    def passed(self, progress: common_pb2.Progress) -> bool:
        """Note an attempt that ended without a result; tell whether the deadline has passed."""
        now = time.monotonic()
        further = progress.step > self._furthest_step.get(progress.stage, 0)
        self._furthest_step[progress.stage] = max(progress.step, self._furthest_step.get(progress.stage, 0))
        if self._outage_began is None or further or now - self._attempted >= max(self._timeout, _LONGEST_BACKOFF):
            self._outage_began, self._delay = now, _FIRST_BACKOFF
        return now - self._outage_began >= self._timeout

    def backoff(self) -> float:
        """Seconds to wait before the next attempt, longer each time."""
        delay, self._delay = self._delay, min(2 * self._delay, _LONGEST_BACKOFF)
        self._attempted = time.monotonic() + delay
        return delay


class ServiceClients:
    """Channels to the services, by name. Calls to an unavailable service are retried for up to `timeout` seconds."""

    def __init__(self, endpoints: Mapping[str, str], timeout: float) -> None:
        self._endpoints = dict(endpoints)
        self._timeout = timeout
        self._channels = {service: connect(endpoint) for service, endpoint in self._endpoints.items()}

    def close(self) -> None:
        """Close every channel."""
        for channel in self._channels.values():
            channel.close()

    def run_job(self, run: RunInProgress, service: str, method: str, request: Any) -> Any:
        """Start or re-attach the job of `request.job_id`, follow its progress, and return its result message.

        Raises:
            Interrupted: the run is to stop.
            Unreachable: the service stayed unavailable longer than the timeout.
            NucleateError: what the service says of the request.
        """
        call = getattr(_STUBS[service](self._channels[service]), method)
        run.job = (service, request.job_id)
        try:
            return self._with_retries(run, service, request.job_id, lambda: self._follow(run, call(request)))
        finally:
            run.job = None

    def call(self, run: RunInProgress, service: str, method: str, request: Any) -> Any:
        """Make an idempotent unary call."""
        call = getattr(_STUBS[service](self._channels[service]), method)
        return self._with_retries(run, service, "", lambda: call(request, timeout=_CALL_SECONDS))

    def cancel_job(self, service: str, job_id: str) -> None:
        """Ask a service to stop a job; a service that cannot be asked has nothing to stop."""
        try:
            stub = self._jobs(service)
            stub.CancelJob(jobs_pb2.CancelJobRequest(job_id=job_id), timeout=5.0)
        except grpc.RpcError as error:
            _log.info("job not cancelled", service=service, job_id=job_id, code=str(error.code()))

    def _jobs(self, service: str) -> jobs_pb2_grpc.JobsServiceStub:
        return jobs_pb2_grpc.JobsServiceStub(self._channels[service])

    @staticmethod
    def _follow(run: RunInProgress, stream: Any) -> Any:
        with run.interruptible(stream):
            for event in stream:
                if event.WhichOneof("event") == "result":
                    return event.result
                run.progress = event.progress
        return None

    def _with_retries(self, run: RunInProgress, service: str, job_id: str, attempt: Callable[[], Any]) -> Any:
        deadline = _RetryDeadline(self._timeout)
        while True:
            run.raise_if_interrupted()
            details = ""
            try:
                if (result := attempt()) is not None:
                    return result
            except grpc.RpcError as error:
                run.raise_if_interrupted()
                details = self._retryable_details(error, service, job_id)
            if deadline.passed(run.progress):
                where = f"the {service} service at {self._endpoints[service]}"
                raise Unreachable(f"{where} did not answer for {self._timeout:g} s{details}")
            run.wait(deadline.backoff())

    def _retryable_details(self, error: grpc.RpcError, service: str, job_id: str) -> str:
        """Raise unless the call can be retried, as while a service is unavailable; return what it gave as cause."""
        call = cast("grpc.Call", error)
        code = call.code()
        if code is grpc.StatusCode.CANCELLED and not self._was_cancelled(service, job_id):
            return ""
        if code is not grpc.StatusCode.UNAVAILABLE:
            raise rpc_error_to_domain(error) from error
        from_service = any(key == ERROR_KEY for key, _ in call.trailing_metadata() or ())
        return f" but to say: {call.details()}" if from_service else ""

    def _was_cancelled(self, service: str, job_id: str) -> bool:
        """Tell a job somebody cancelled from a stream that a stopping server dropped."""
        if not job_id:
            return True
        try:
            stub = self._jobs(service)
            answer = stub.GetJob(jobs_pb2.GetJobRequest(job_id=job_id), timeout=5.0)
        except grpc.RpcError:
            return False
        return bool(answer.state == jobs_pb2.JOB_STATE_CANCELLED)

"""The services as the orchestrator calls them: one job at a time per run, patient while a service is away."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, cast

import grpc
import structlog

from nucleate.errors import Unreachable
from nucleate.orchestrator.loop.runs_in_progress import LiveRun
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
_FIRST_DELAY = 0.25
_LONGEST_DELAY = 5.0
# A unary call of a session carries a small window; a service needs this long only while it loads a model.
_UNARY_SECONDS = 120.0


class _Absence:
    """How long a service has been away.

    Work that gets further, or goes on for long, ends an absence; a job that fails again and again at one place does not.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._began: float | None = None
        self._tried = time.monotonic()
        self._furthest: dict[str, int] = {}
        self._delay = _FIRST_DELAY

    def too_long(self, progress: common_pb2.Progress) -> bool:
        """Note an attempt that ended without a result; tell whether that was the last one."""
        now = time.monotonic()
        further = progress.step > self._furthest.get(progress.stage, 0)
        self._furthest[progress.stage] = max(progress.step, self._furthest.get(progress.stage, 0))
        if self._began is None or further or now - self._tried >= max(self._patience, _LONGEST_DELAY):
            self._began, self._delay = now, _FIRST_DELAY
        return now - self._began >= self._patience

    def delay(self) -> float:
        """Seconds to wait before the next attempt, longer each time."""
        delay, self._delay = self._delay, min(2 * self._delay, _LONGEST_DELAY)
        self._tried = time.monotonic() + delay
        return delay


class Backends:
    """Channels to the services, by name. A service that is away is waited for up to `patience` seconds."""

    def __init__(self, endpoints: Mapping[str, str], patience: float) -> None:
        self._endpoints = dict(endpoints)
        self._patience = patience
        self._channels = {service: connect(endpoint) for service, endpoint in self._endpoints.items()}

    def close(self) -> None:
        """Close every channel."""
        for channel in self._channels.values():
            channel.close()

    def job(self, run: LiveRun, service: str, method: str, request: Any) -> Any:
        """Start or re-attach the job of `request.job_id`, follow its progress, and return its result message.

        Raises:
            Interrupted: the run is to stop.
            Unreachable: the service stayed away longer than the patience.
            NucleateError: what the service says of the request.
        """
        call = getattr(_STUBS[service](self._channels[service]), method)
        run.job = (service, request.job_id)
        try:
            return self._patiently(run, service, request.job_id, lambda: self._followed(run, call(request)))
        finally:
            run.job = None

    def unary(self, run: LiveRun, service: str, method: str, request: Any) -> Any:
        """Make an idempotent unary call."""
        call = getattr(_STUBS[service](self._channels[service]), method)
        return self._patiently(run, service, "", lambda: call(request, timeout=_UNARY_SECONDS))

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
    def _followed(run: LiveRun, stream: Any) -> Any:
        with run.calling(stream):
            for event in stream:
                if event.WhichOneof("event") == "result":
                    return event.result
                run.progress = event.progress
        return None

    def _patiently(self, run: LiveRun, service: str, job_id: str, attempt: Callable[[], Any]) -> Any:
        absence = _Absence(self._patience)
        while True:
            run.check()
            said = ""
            try:
                if (result := attempt()) is not None:
                    return result
            except grpc.RpcError as error:
                run.check()
                said = self._said_while_away(error, service, job_id)
            if absence.too_long(run.progress):
                where = f"the {service} service at {self._endpoints[service]}"
                raise Unreachable(f"{where} did not answer for {self._patience:g} s{said}")
            run.pause(absence.delay())

    def _said_while_away(self, error: grpc.RpcError, service: str, job_id: str) -> str:
        """Raise unless the call is worth repeating: the service, or something it needs, is away. Return what it said itself."""
        call = cast("grpc.Call", error)
        code = call.code()
        if code is grpc.StatusCode.CANCELLED and not self._was_cancelled(service, job_id):
            return ""
        if code is not grpc.StatusCode.UNAVAILABLE:
            raise rpc_error_to_domain(error) from error
        own = any(key == ERROR_KEY for key, _ in call.trailing_metadata() or ())
        return f" but to say: {call.details()}" if own else ""

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

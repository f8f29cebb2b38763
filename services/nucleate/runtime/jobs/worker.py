"""The thread that does the work, one job after another, and keeps each job's state in the store."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable

import structlog
from google.protobuf.message import Message

from nucleate.errors import Cancelled, NucleateError, TooLarge, Unreachable
from nucleate.runtime.error_table import Internal, internal
from nucleate.runtime.jobs.execution import Execution, Interrupted
from nucleate.runtime.jobs.job import Job
from nucleate.v1 import jobs_pb2 as pb

Work = Callable[[Job], Message]

MAX_RESULT_BYTES = 4 * 1024 * 1024 - 1024  # a result is one message
HEARTBEAT_SECONDS = 1.0
LEASE_BEATS = 5  # the state is written at least every fifth heartbeat

_log = structlog.get_logger()


class Worker:
    """Takes executions in the order they come; `observe` is called with "started" and each outcome's name."""

    def __init__(self, service: str, observe: Callable[[str], None]) -> None:
        self.active: dict[str, Execution] = {}
        self._service = service
        self._observe = observe
        self._queue: queue.SimpleQueue[tuple[Execution, Work]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def submit(self, execution: Execution, work: Work) -> None:
        """Queue the work; it is active from now until it has an outcome."""
        execution.record.write(execution.attempt, execution.view()[1])
        self.active[execution.record.job_id] = execution
        self._queue.put((execution, work))
        threading.Thread(target=_heartbeat, args=(execution,), name=f"heartbeat-{self._service}", daemon=True).start()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run_all, name=f"jobs-{self._service}", daemon=True)
            self._thread.start()

    def conclude_if_stopped(self, execution: Execution) -> None:
        """Conclude at once what was cancelled or interrupted before it started."""
        if not execution.started.is_set():
            try:
                execution.check()
            except (Cancelled, Interrupted) as stopped:
                self.conclude(execution, stopped)

    def conclude(self, execution: Execution, outcome: bytes | BaseException) -> None:
        """Write and announce the outcome, once: the first one stands."""
        with execution.writing:
            if execution.state != pb.JOB_STATE_RUNNING:
                return
            state, error = _state_and_error(outcome, execution.record.job_id)
            _, job = execution.view()
            job.state, job.error = state, str(error or "")
            try:
                execution.record.write(execution.attempt, job, type(error).__name__ if error else "")
                if state == pb.JOB_STATE_DONE:
                    execution.record.drop_checkpoint()
            except NucleateError as lost:  # the outcome is not on record: the same call makes another attempt
                _log.warning("job_state_lost", job_id=execution.record.job_id, error=str(lost))
                state, error = pb.JOB_STATE_FAILED, error or lost
            self.active.pop(execution.record.job_id, None)
            execution.finish(state, result=outcome if isinstance(outcome, bytes) else b"", error=error)
        self._observe(pb.JobState.Name(state).removeprefix("JOB_STATE_").lower())

    def _run_all(self) -> None:
        while True:
            execution, work = self._queue.get()
            execution.started.set()
            if execution.state != pb.JOB_STATE_RUNNING:
                continue
            started = time.monotonic()
            self._observe("started")
            self.conclude(execution, _execute(execution, work))
            took = round(time.monotonic() - started, 3)
            state = pb.JobState.Name(execution.state)
            _log.info("job", service=self._service, job_id=execution.record.job_id, state=state, seconds=took)


def _execute(execution: Execution, work: Work) -> bytes | BaseException:
    try:
        execution.check()
        result: bytes = work(Job(execution)).SerializeToString(deterministic=True)
        if len(result) <= MAX_RESULT_BYTES:
            execution.record.write_result(result)
            return result
    except BaseException as error:  # noqa: BLE001 - the thread outlives any job
        return error
    return TooLarge(f"the result of job '{execution.record.job_id}' takes {len(result)} bytes: ask for less in one job")


def _state_and_error(outcome: bytes | BaseException, job_id: str) -> tuple[pb.JobState, BaseException | None]:
    """Return the state an outcome means, and the error every watcher gets."""
    match outcome:
        case bytes():
            return pb.JOB_STATE_DONE, None
        case Interrupted():
            return pb.JOB_STATE_INTERRUPTED, Unreachable(f"the service is stopping: call again to go on with job '{job_id}'")
        case Cancelled():
            return pb.JOB_STATE_CANCELLED, outcome
        case NucleateError() | Internal():
            return pb.JOB_STATE_FAILED, outcome
        case _:
            return pb.JOB_STATE_FAILED, internal(outcome, job_id=job_id)


def _heartbeat(execution: Execution) -> None:
    """Write the state at most once a second, and look for requests of other processes."""
    written, beats, record = 0, 0, execution.record
    while not execution.wait(HEARTBEAT_SECONDS):
        beats += 1
        version, job = execution.view()
        try:
            with execution.writing:
                if execution.state == pb.JOB_STATE_RUNNING and (version != written or beats % LEASE_BEATS == 0):
                    record.write(execution.attempt, job)
                    written = version
            if record.cancel_requested(execution.attempt):
                execution.cancelled.set()
            if beats % LEASE_BEATS == 0 and record.latest_attempt() > execution.attempt:
                execution.interrupted.set()  # we were taken for dead, and another process goes on
        except NucleateError as error:
            _log.warning("job_state_lost", job_id=record.job_id, error=str(error))

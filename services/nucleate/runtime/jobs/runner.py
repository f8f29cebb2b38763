"""Starts jobs, and lets any number of calls watch them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, cast

from google.protobuf.message import Message

from nucleate.errors import Cancelled, NotFound, TooLarge, Unreachable
from nucleate.runtime.error_table import Internal, error_named
from nucleate.runtime.jobs.curves import CurveWriter
from nucleate.runtime.jobs.execution import Execution, Interrupted
from nucleate.runtime.jobs.owner import Owner
from nucleate.runtime.jobs.record import JobRecord, Snapshot, request_digest
from nucleate.runtime.jobs.worker import Work, Worker
from nucleate.runtime.store.protocol import ObjectStore
from nucleate.v1 import common_pb2
from nucleate.v1 import jobs_pb2 as pb

R = TypeVar("R", bound=Message)

MAX_WATCHERS = 12  # each holds a thread of the server's 16: the rest stay free for short calls
POLL_SECONDS = 1.0
_UNSUCCESSFUL = (pb.JOB_STATE_FAILED, pb.JOB_STATE_CANCELLED)
_FINISHED = (pb.JOB_STATE_DONE, *_UNSUCCESSFUL)


class JobRunner:
    """All jobs of one service in this process; several processes may share the store, each job runs in one."""

    def __init__(
        self,
        store: ObjectStore,
        service: str,
        observe: Callable[[str], None] | None = None,
        curves: CurveWriter | None = None,
    ) -> None:
        self._store = store
        self._curves = curves
        self._service = service
        self._owner = Owner.this_process()
        self._worker = Worker(service, observe or (lambda _event: None))
        self._starting = threading.Lock()
        self._watchers = threading.BoundedSemaphore(MAX_WATCHERS)
        self._draining = False

    def stream(self, request: Any, response_type: type[R], work: Work) -> Iterator[R]:
        """Start the job `request.job_id`, or watch it, or replay its result: progress messages, then the result.

        `response_type` has the fields `progress` and `result`, and `part` where `work` gives parts; `work` returns the result.
        It runs in a thread of its own, one job at a time, and goes on when the stream is dropped.

        Raises:
            InvalidInput: a bad job id.
            JobConflict: the id stands for another request.
            Unreachable: the server is stopping; the same call goes on later from the checkpoint.
            TooLarge: too many calls watch jobs here, or the result does not fit a message.
            And whatever `work` raises: the job has failed, and the same call tries again.
        """
        record = JobRecord(self._store, self._service, request.job_id)
        if not self._watchers.acquire(blocking=False):
            raise TooLarge(f"{MAX_WATCHERS} calls watch jobs of this service already: try again when one has ended")
        try:
            yield from self._follow_or_poll(record, request, response_type, work)
        finally:
            self._watchers.release()

    def get(self, job_id: str) -> pb.GetJobResponse:
        """Say where a job stands; raise `NotFound` if none has that id."""
        record = JobRecord(self._store, self._service, job_id)
        execution = self._worker.active.get(job_id)
        return execution.view()[1] if execution else self._stored_snapshot(record).job

    def cancel(self, job_id: str, wait_seconds: float = 5.0) -> pb.JobState:
        """Cancel a job that is not over, and say where it stands: it runs on until its next step."""
        record = JobRecord(self._store, self._service, job_id)
        execution = self._worker.active.get(job_id)
        if execution:
            execution.cancelled.set()
            self._worker.conclude_if_stopped(execution)
            execution.wait(wait_seconds)
            return execution.state
        snapshot = self._stored_snapshot(record)
        if snapshot.job.state == pb.JOB_STATE_RUNNING:
            record.request_cancel(snapshot.attempt)
        elif snapshot.job.state == pb.JOB_STATE_INTERRUPTED:
            snapshot.job.state = pb.JOB_STATE_CANCELLED
            record.write(snapshot.attempt, snapshot.job, Cancelled.__name__)
        return snapshot.job.state

    def running(self) -> int:
        """Return how many jobs run or wait here."""
        return len(self._worker.active)

    def drain(self, seconds: float) -> bool:
        """Interrupt every job and start no more; each stays resumable from its checkpoint. False: one would not end."""
        self._draining = True
        deadline = time.monotonic() + seconds
        with self._starting:
            executions = list(self._worker.active.values())
        for execution in executions:
            execution.interrupted.set()
            self._worker.conclude_if_stopped(execution)
        late = [execution for execution in executions if not execution.wait(max(deadline - time.monotonic(), 0.0))]
        for execution in late:  # its step takes longer than we may wait
            self._worker.conclude(execution, Interrupted())
        return not late

    def _follow_or_poll(self, record: JobRecord, request: Message, response_type: type[R], work: Work) -> Iterator[R]:
        digest = request_digest(request)
        polls = 0
        while (attached_to := self._attach(record, digest, work, retry=polls == 0)) is None:
            progress = record.snapshot().job.progress
            progress.resumed = polls == 0
            yield response_type(progress=progress)
            polls += 1
            time.sleep(POLL_SECONDS)
        if not isinstance(attached_to, bytes):
            execution, attached = attached_to
            for event in execution.follow(resumed=attached or execution.resumed):
                yield response_type(progress=event) if isinstance(event, common_pb2.Progress) else _part(response_type, event)
            if execution.error is not None:
                raise execution.error
            attached_to = execution.result
        response: Any = response_type()
        response.result.SetInParent()
        response.result.MergeFromString(attached_to)
        yield response

    def _attach(self, record: JobRecord, digest: str, work: Work, *, retry: bool) -> bytes | tuple[Execution, bool] | None:
        """Return the stored result, or the execution here and whether it ran already, or None while it runs elsewhere."""
        with self._starting:
            record.claim(digest)
            execution = self._worker.active.get(record.job_id)
            if execution:
                return execution, True
            snapshot = record.snapshot()
            result = record.result() if snapshot.attempt else None
            if result is not None:
                return result
            if self._runs_elsewhere(snapshot):
                return None
            if snapshot.job.state in _UNSUCCESSFUL and not retry:
                raise _error_of(snapshot)
            if self._draining:
                raise Unreachable(f"the service is stopping: call again to go on with job '{record.job_id}'")
            if not record.claim_attempt(snapshot.attempt + 1, self._owner):
                return None
            execution = Execution(record, snapshot.attempt + 1, resumed=record.has_checkpoint(), curves=self._curves)
            self._worker.submit(execution, work)
            return execution, False

    def _stored_snapshot(self, record: JobRecord) -> Snapshot:
        if not record.exists():
            raise NotFound(f"no job '{record.job_id}' in service {self._service}")
        snapshot = record.snapshot()
        if snapshot.job.state not in _FINISHED and not self._runs_elsewhere(snapshot):
            snapshot.job.state = pb.JOB_STATE_INTERRUPTED
        return snapshot

    def _runs_elsewhere(self, snapshot: Snapshot) -> bool:
        """Tell whether another runner works on it; an attempt of ours that is not active was abandoned."""
        return snapshot.alive() and snapshot.owner is not None and snapshot.owner.instance != self._owner.instance


def _part(response_type: type[R], data: bytes) -> R:
    response: Any = response_type()
    response.part.SetInParent()
    response.part.MergeFromString(data)
    return cast(R, response)


def _error_of(snapshot: Snapshot) -> BaseException:
    """Rebuild the error with which another process ended the job."""
    return error_named(snapshot.failure, snapshot.job.error) or Internal.__new__(Internal, snapshot.job.error)

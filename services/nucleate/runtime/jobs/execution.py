"""One attempt at a job in this process: its state and progress, for any number of watchers."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

from nucleate.errors import Cancelled
from nucleate.runtime.jobs.curves import CurveWriter
from nucleate.runtime.jobs.record import JobRecord
from nucleate.v1 import common_pb2
from nucleate.v1 import jobs_pb2 as pb

STREAM_INTERVAL_SECONDS = 0.2  # at most five messages a second
HEARTBEAT_SECONDS = 2.0  # at least one message in this time, which also shows a watcher that has gone


class Interrupted(BaseException):
    """The server is stopping. Not an `Exception`, so that no work swallows it by accident."""


class Execution:
    """Thread-safe: one worker reports, watchers follow, anybody cancels."""

    def __init__(self, record: JobRecord, attempt: int, *, resumed: bool, curves: CurveWriter | None = None) -> None:
        self.record = record
        self._curves = curves
        self.attempt = attempt
        self.resumed = resumed
        self.started = threading.Event()
        self.cancelled = threading.Event()
        self.interrupted = threading.Event()
        self.writing = threading.Lock()  # held while the state is written, so that "running" never follows an outcome
        self.state = pb.JOB_STATE_RUNNING
        self.error: BaseException | None = None
        self.result = b""
        self.parts: list[bytes] = []  # only ever appended to
        self._progress = common_pb2.Progress(stage="waiting")
        self._version = 0
        self._first_report: tuple[float, int] | None = None
        self._finished = threading.Event()

    def check(self) -> None:
        """Raise `Cancelled` or `Interrupted` if somebody asked for it."""
        if self.cancelled.is_set():
            raise Cancelled(f"job '{self.record.job_id}' was cancelled")
        if self.interrupted.is_set():
            raise Interrupted

    def report(self, step: int, total: int, stage: str, values: dict[str, float]) -> None:
        """Take note of where the work is."""
        now = time.monotonic()
        if self._first_report is None:
            self._first_report = (now, step)
        since, first = self._first_report
        eta = (now - since) / (step - first) * max(total - step, 0) if step > first else 0.0
        self._progress = common_pb2.Progress(stage=stage, step=step, total=total, values=values, eta_seconds=eta)
        self._version += 1
        if self._curves:
            self._curves.add(self.record.job_id, step, values)

    def finish(self, state: pb.JobState, *, result: bytes = b"", error: BaseException | None = None) -> None:
        """Set the outcome and wake every watcher."""
        self.state, self.result, self.error = state, result, error
        if self._curves:
            self._curves.close(self.record.job_id)
        self._finished.set()

    def wait(self, seconds: float) -> bool:
        """Wait for the outcome; False if there is none yet."""
        return self._finished.wait(seconds)

    def view(self) -> tuple[int, pb.GetJobResponse]:
        """Return a version number that grows with every report, and where the job stands."""
        return self._version, pb.GetJobResponse(state=self.state, progress=self._progress)

    def follow(self, *, resumed: bool) -> Iterator[common_pb2.Progress | bytes]:
        """Yield progress until there is an outcome: at once, when it changes, and as a heartbeat; and every part, once."""
        seen = 0
        version, job = self.view()
        job.progress.resumed = resumed
        yield job.progress
        yielded = time.monotonic()
        finished = False
        while not finished:
            finished = self.wait(STREAM_INTERVAL_SECONDS)
            yield from self.parts[seen : (seen := len(self.parts))]
            latest, job = self.view()
            if latest != version or (not finished and time.monotonic() - yielded >= HEARTBEAT_SECONDS):
                version, yielded = latest, time.monotonic()
                yield job.progress

"""The durable journal: which runs exist, which of their steps are finished, and with what result.

DBOS behind a small seam. SQLite in a file for one machine, PostgreSQL in a cluster. Values are JSON, never pickle: whoever can
write to the database must not gain code execution. A step that ends by `Interrupted` leaves no trace and is run again; any
other error is recorded and fails the run, until `resume` drops the record.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from dbos import DBOS, DBOSConfig, DBOSPortableJSONSerializer, SetWorkflowID, WorkflowStatus

from nucleate.errors import Precondition

T = TypeVar("T")
Body = Callable[[str], None]

# Recovery takes up only runs journalled under the same version: raise it when the order or the names of steps change.
JOURNAL_VERSION = "1"
QUEUE = "runs"
# Runs in progress at once; a run waiting for a person counts, and only holds a sleeping thread.
MAX_RUNS = 64


class Interrupted(BaseException):
    """The process is stopping or the run was cancelled: end the step without recording anything.

    Not an `Exception`, so that neither a step's own error handling nor the journal takes it for the step's outcome.
    """


@dataclass(frozen=True)
class JournalEntry:
    """A finished step: its result as JSON, or the line it failed with."""

    position: int
    name: str
    result: Any
    error: str | None


@dataclass(frozen=True)
class RunStatus:
    """Where the journal has a run: "running", "done", "failed" or "cancelled"; times in seconds since the epoch."""

    run_id: str
    state: str
    started: float
    finished: float | None
    error: str


_STATES = {
    "ENQUEUED": "running",
    "DELAYED": "running",
    "PENDING": "running",
    "SUCCESS": "done",
    "ERROR": "failed",
    "MAX_RECOVERY_ATTEMPTS_EXCEEDED": "failed",
    "CANCELLED": "cancelled",
}

# DBOS is one per process and finds workflows by the name of a registered function; this is what that function runs.
_body: Body | None = None


@DBOS.workflow(name="nucleate.run", max_recovery_attempts=None)
def _run(run_id: str) -> None:
    if _body is None:
        raise Interrupted
    _body(run_id)


class Journal:
    """Open one per process; `url` is "sqlite:////abs/file" or "postgresql://…"."""

    def __init__(self, url: str, *, executor_id: str = "local") -> None:
        self._lock = _lock_database(Path(url.removeprefix("sqlite:///"))) if url.startswith("sqlite:") else None
        DBOS(
            config=DBOSConfig(
                name="nucleate",
                system_database_url=url,
                application_version=JOURNAL_VERSION,
                executor_id=executor_id,
                serializer=DBOSPortableJSONSerializer(),
                log_level="WARNING",
                enable_otlp=False,
            )
        )
        logging.getLogger("dbos").addFilter(_is_not_duplicate)

    def launch(self, body: Body) -> None:
        """Start executing; runs in progress when the last process ended are recovered."""
        global _body  # noqa: PLW0603 -- see above: DBOS is one per process
        _body = body
        DBOS.launch()
        DBOS.register_queue(QUEUE, global_concurrency=MAX_RUNS, polling_interval_sec=1.0)

    def close(self) -> None:
        """Stop executing. The caller has interrupted running steps before; runs stay as they are in the journal."""
        DBOS.destroy()
        if self._lock is not None:
            os.close(self._lock)

    def start(self, run_id: str) -> None:
        """Queue a run; one that the journal has already is left as it is."""
        with SetWorkflowID(run_id):
            DBOS.enqueue_workflow(QUEUE, _run, run_id)

    def step(self, name: str, work: Callable[[], T]) -> T:
        """Run `work` and record its JSON value, or return the value recorded before. Only inside a run's body."""
        return DBOS.run_step({"name": name}, work)

    def cancel(self, run_id: str) -> None:
        """Mark a run cancelled. Its current step is not recorded if it ends by `Interrupted`."""
        DBOS.cancel_workflow(run_id)

    def resume(self, run_id: str) -> None:
        """Go on with a failed or cancelled run at its first step that has no result."""
        entries = self.entries(run_id)
        failed = [entry.position for entry in entries if entry.error is not None]
        if failed or self._status(run_id).status == "ERROR":
            after_all = max((entry.position for entry in entries), default=0) + 1
            DBOS.rewind_workflow(run_id, start_step=min(failed, default=after_all), queue_name=QUEUE)
        else:
            DBOS.resume_workflow(run_id, queue_name=QUEUE)

    def entries(self, run_id: str) -> list[JournalEntry]:
        """The run's finished steps in order."""
        return [
            JournalEntry(
                position=step["function_id"],
                name=step["function_name"],
                result=step["output"],
                error=None if step["error"] is None else str(step["error"]),
            )
            for step in DBOS.list_workflow_steps(run_id)
        ]

    def status(self, run_id: str) -> RunStatus | None:
        """Where a run stands, or None for one that was never started."""
        found = DBOS.list_workflows(workflow_ids=[run_id], load_output=True)
        return _status(found[0]) if found else None

    def runs(self) -> list[RunStatus]:
        """Every run, oldest first."""
        return [_status(found) for found in DBOS.list_workflows(name="nucleate.run")]

    def _status(self, run_id: str) -> WorkflowStatus:
        return DBOS.list_workflows(workflow_ids=[run_id])[0]


def _is_not_duplicate(record: logging.LogRecord) -> bool:
    """A step that fails is logged, with its run, by the step itself; the engine's second traceback of it is noise."""
    return not record.getMessage().startswith("Exception encountered in background workflow")


def _status(found: WorkflowStatus) -> RunStatus:
    return RunStatus(
        run_id=found.workflow_id,
        state=_STATES[found.status],
        started=(found.created_at or 0) / 1000,
        finished=None if found.completed_at is None else found.completed_at / 1000,
        error="" if found.error is None else str(found.error),
    )


def _lock_database(database: Path) -> int:
    """Hold the lock beside the database as long as the process lives: two processes would run every step twice."""
    database.parent.mkdir(parents=True, exist_ok=True)
    lock = os.open(f"{database}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.read(lock, 32).decode(errors="replace").strip() or "unknown"
        os.close(lock)
        raise Precondition(
            f"another orchestrator (process {holder}) works on {database}: "
            "stop it with `nucleate down`, or give this one another NUCLEATE_HOME"
        ) from error
    os.truncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    return lock

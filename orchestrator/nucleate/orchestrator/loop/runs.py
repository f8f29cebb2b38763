"""The orchestrator itself: starts, shows, cancels and resumes runs. The servicer only translates."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from typing import Self

import structlog
from google.protobuf import json_format

from nucleate.errors import NotFound, Precondition
from nucleate.orchestrator.loop.annotation_step import Annotation
from nucleate.orchestrator.loop.annotation_tasks import Tasks, parsed
from nucleate.orchestrator.loop.cycle import run_cycles
from nucleate.orchestrator.loop.journal import Entry, Journal, RunStatus
from nucleate.orchestrator.loop.run_plan import RunRecord, RunRecords
from nucleate.orchestrator.loop.runs_in_progress import LiveRuns
from nucleate.orchestrator.loop.service_calls import Backends
from nucleate.orchestrator.loop.step_records import Recorder
from nucleate.orchestrator.loop.steps import Steps
from nucleate.orchestrator.settings import OrchestratorSettings
from nucleate.runtime.blobs import Blobs
from nucleate.v1 import orchestrator_pb2

_log = structlog.get_logger(__name__)
_STATES = {
    "running": orchestrator_pb2.RUN_STATE_RUNNING,
    "done": orchestrator_pb2.RUN_STATE_DONE,
    "failed": orchestrator_pb2.RUN_STATE_FAILED,
    "cancelled": orchestrator_pb2.RUN_STATE_CANCELLED,
}
_CYCLE = re.compile(r"cycle-(\d+)\.")
_WATCH_EVERY = 0.5
# How long a cancelled run's thread gets to leave its step, and a stopping process its runs.
_LEAVING_SECONDS = 10.0


class Orchestrator:
    """Runs of one journal. Use as a context manager: entering recovers what was in work, leaving stops without a trace."""

    def __init__(self, blobs: Blobs, settings: OrchestratorSettings) -> None:
        self.blobs = blobs
        self.tasks = Tasks(blobs)
        self._records = RunRecords(blobs.store, settings.run_settings)
        self._backends = Backends(settings.endpoints, settings.unavailable_seconds)
        self._live = LiveRuns()
        self._journal = Journal(settings.journal_url, executor_id=settings.executor_id)

    def __enter__(self) -> Self:
        self._journal.launch(self._work)
        return self

    def __exit__(self, *_: object) -> None:
        self._live.close(_LEAVING_SECONDS)
        self._journal.close()
        self._backends.close()

    def start(self, run_id: str, plan: orchestrator_pb2.RunPlan) -> orchestrator_pb2.Run:
        """Start a run, or return it as it stands if it was started with the same plan."""
        record = self._records.create(run_id, plan)
        self._journal.start(record.run_id)
        return self.show(run_id)

    def show(self, run_id: str) -> orchestrator_pb2.Run:
        """A run as it stands."""
        record, status = self._found(run_id)
        return self._view(record, status)

    def show_all(self) -> list[orchestrator_pb2.Run]:
        """Every run, oldest first."""
        return [self._view(self._records.get(status.run_id), status) for status in self._journal.runs()]

    def watch(self, run_id: str, going: Callable[[], bool]) -> Iterator[orchestrator_pb2.Run]:
        """A run each time it changes, until nothing more comes without a person, or `going` says stop."""
        before = None
        while going():
            run = self.show(run_id)
            if run != before:
                yield run
            if run.state != orchestrator_pb2.RUN_STATE_RUNNING:
                return
            before = run
            time.sleep(_WATCH_EVERY)

    def cancel(self, run_id: str) -> orchestrator_pb2.Run:
        """Stop a run and the job it waits for; finished steps stay."""
        _, status = self._found(run_id)
        if status.state in ("done", "failed"):
            raise Precondition(f"run '{run_id}' is {status.state} already: there is nothing to cancel")
        self._journal.cancel(run_id)
        if (live := self._live.get(run_id)) is not None:
            job = live.job
            live.interrupt()
            if job is not None:
                self._backends.cancel_job(*job)
        _log.info("run cancelled", run=run_id)
        return self.show(run_id)

    def resume(self, run_id: str) -> orchestrator_pb2.Run:
        """Go on with a failed or cancelled run at its first unfinished step; any other run is returned as it stands."""
        _, status = self._found(run_id)
        if status.state in ("failed", "cancelled"):
            live = self._live.get(run_id)
            if live is not None and not live.left.wait(_LEAVING_SECONDS):
                raise Precondition(f"run '{run_id}' is still leaving step {live.step}: resume it in a moment")
            self._journal.resume(run_id)
            _log.info("run resumed", run=run_id)
        return self.show(run_id)

    def open_tasks(self, run_id: str) -> Iterator[orchestrator_pb2.AnnotationTask]:
        """Annotation tasks of one run, or of all with an empty id; done ones included."""
        runs = [self._found(run_id)[1]] if run_id else self._journal.runs()
        for status in runs:
            yield from self.tasks.of_run(status.run_id)

    def submit(self, request: orchestrator_pb2.SubmitTaskRequest) -> orchestrator_pb2.Run:
        """Take in a task's accepted mask, and wake the run that waits for it."""
        run_id = parsed(request.task_id)[0]
        self.tasks.submit(request)
        if (live := self._live.get(run_id)) is not None:
            # Said at once, so that who submits the last task and then watches does not read "waiting" once more.
            live.waiting = live.waiting and not all(task.done for task in self.tasks.of_run(run_id))
            live.wake()
        return self.show(run_id)

    def facts(self, run_id: str) -> tuple[RunRecord, RunStatus, list[Entry]]:
        """What the report is made from."""
        record, status = self._found(run_id)
        return record, status, self._journal.entries(run_id)

    def _work(self, run_id: str) -> None:
        """Body of the workflow: called by the journal on its own thread, again after every restart."""
        record = self._records.get(run_id)
        with self._live.entered(run_id) as live:
            recorder = Recorder(run_id, self._journal, self.blobs, live)
            annotation = Annotation(record, recorder, self._backends, self.tasks)
            run_cycles(Steps(record, self._journal, recorder, self._backends, annotation))

    def _found(self, run_id: str) -> tuple[RunRecord, RunStatus]:
        record = self._records.get(run_id)
        status = self._journal.status(run_id)
        if status is None:
            # The process died between keeping the plan and starting the run.
            raise NotFound(f"run '{run_id}' was never started: start it again with the same plan")
        return record, status

    def _view(self, record: RunRecord, status: RunStatus) -> orchestrator_pb2.Run:
        entries = self._journal.entries(status.run_id)
        run = orchestrator_pb2.Run(
            run_id=status.run_id,
            state=_STATES[status.state],
            cycles=record.plan.cycles,
            profile=record.profile.name,
            seed=record.plan.seed,
            error=status.error,
            steps=[_step(entry) for entry in entries if _is(entry, "seconds")],
            rows=[json_format.ParseDict(e.result["row"], orchestrator_pb2.ScoreRow()) for e in entries if _is(e, "row")],
        )
        run.started.FromMilliseconds(int(status.started * 1000))
        if status.finished is not None:
            run.finished.FromMilliseconds(int(status.finished * 1000))
        live = self._live.get(status.run_id)
        if live is not None and status.state == "running":
            run.step = live.step
            run.progress.CopyFrom(live.progress)
            if live.waiting:
                run.state = orchestrator_pb2.RUN_STATE_WAITING
        elif entries and status.state != "done":
            run.step = entries[-1].name
        cycles = [int(found[1]) for name in (run.step, *(entry.name for entry in entries)) if (found := _CYCLE.match(name))]
        run.cycle = max(cycles, default=0)
        return run


def _is(entry: Entry, key: str) -> bool:
    """Whether a journal entry is a finished step ("seconds") or a row ("row")."""
    return isinstance(entry.result, dict) and key in entry.result


def _step(entry: Entry) -> orchestrator_pb2.StepRecord:
    return orchestrator_pb2.StepRecord(name=entry.name, seconds=entry.result["seconds"], attempts=entry.result["attempts"])

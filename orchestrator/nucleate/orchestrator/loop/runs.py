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
from nucleate.orchestrator.loop.annotation_tasks import AnnotationTasks, parse_task_id
from nucleate.orchestrator.loop.cycle import run_cycles
from nucleate.orchestrator.loop.journal import Journal, JournalEntry, RunStatus
from nucleate.orchestrator.loop.run_plan import RunRecord, RunRecords
from nucleate.orchestrator.loop.runs_in_progress import RunsInProgress
from nucleate.orchestrator.loop.service_calls import ServiceClients
from nucleate.orchestrator.loop.step_records import StepRecorder
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
_WATCH_INTERVAL = 0.5
# How long a cancelled run's thread gets to end its step, and a stopping process its runs.
_STOP_SECONDS = 10.0


class Orchestrator:
    """Runs of one journal. A context manager: entering recovers runs in progress, leaving interrupts them unrecorded."""

    def __init__(self, blobs: Blobs, settings: OrchestratorSettings) -> None:
        self.blobs = blobs
        self.tasks = AnnotationTasks(blobs)
        self._records = RunRecords(blobs.store, settings.run_settings)
        self._services = ServiceClients(settings.endpoints, settings.unavailable_seconds)
        self._runs_in_progress = RunsInProgress()
        self._journal = Journal(settings.journal_url, executor_id=settings.executor_id)

    def __enter__(self) -> Self:
        self._journal.launch(self._execute)
        return self

    def __exit__(self, *_: object) -> None:
        self._runs_in_progress.close(_STOP_SECONDS)
        self._journal.close()
        self._services.close()

    def start(self, run_id: str, plan: orchestrator_pb2.RunPlan) -> orchestrator_pb2.Run:
        """Start a run, or return it as it stands if it was started with the same plan."""
        record = self._records.create(run_id, plan)
        self._journal.start(record.run_id)
        return self.show(run_id)

    def show(self, run_id: str) -> orchestrator_pb2.Run:
        """A run as it stands."""
        record, status = self._record_and_status(run_id)
        return self._message_of(record, status)

    def show_all(self) -> list[orchestrator_pb2.Run]:
        """Every run, oldest first."""
        return [self._message_of(self._records.get(status.run_id), status) for status in self._journal.runs()]

    def watch(self, run_id: str, is_active: Callable[[], bool]) -> Iterator[orchestrator_pb2.Run]:
        """A run each time it changes, until nothing more comes without a person, or `is_active` says stop."""
        before = None
        while is_active():
            run = self.show(run_id)
            if run != before:
                yield run
            if run.state != orchestrator_pb2.RUN_STATE_RUNNING:
                return
            before = run
            time.sleep(_WATCH_INTERVAL)

    def cancel(self, run_id: str) -> orchestrator_pb2.Run:
        """Stop a run and the job it waits for; finished steps stay."""
        _, status = self._record_and_status(run_id)
        if status.state in ("done", "failed"):
            raise Precondition(f"run '{run_id}' is {status.state} already: there is nothing to cancel")
        self._journal.cancel(run_id)
        if (active := self._runs_in_progress.get(run_id)) is not None:
            job = active.job
            active.interrupt()
            if job is not None:
                self._services.cancel_job(*job)
        _log.info("run cancelled", run=run_id)
        return self.show(run_id)

    def resume(self, run_id: str) -> orchestrator_pb2.Run:
        """Go on with a failed or cancelled run at its first unfinished step; any other run is returned as it stands."""
        _, status = self._record_and_status(run_id)
        if status.state in ("failed", "cancelled"):
            active = self._runs_in_progress.get(run_id)
            if active is not None and not active.stopped.wait(_STOP_SECONDS):
                raise Precondition(f"run '{run_id}' is still leaving step {active.step}: resume it in a moment")
            self._journal.resume(run_id)
            _log.info("run resumed", run=run_id)
        return self.show(run_id)

    def open_tasks(self, run_id: str) -> Iterator[orchestrator_pb2.AnnotationTask]:
        """Annotation tasks of one run, or of all with an empty id; done ones included."""
        runs = [self._record_and_status(run_id)[1]] if run_id else self._journal.runs()
        for status in runs:
            yield from self.tasks.of_run(status.run_id)

    def submit(self, request: orchestrator_pb2.SubmitTaskRequest) -> orchestrator_pb2.Run:
        """Take in a task's accepted mask, and notify the run that waits for it."""
        run_id = parse_task_id(request.task_id)[0]
        self.tasks.submit(request)
        if (active := self._runs_in_progress.get(run_id)) is not None:
            # Set at once, so that who submits the last task and then watches does not read "waiting" once more.
            active.waiting = active.waiting and not all(task.done for task in self.tasks.of_run(run_id))
            active.notify()
        return self.show(run_id)

    def report_inputs(self, run_id: str) -> tuple[RunRecord, RunStatus, list[JournalEntry]]:
        """What the report is made from."""
        record, status = self._record_and_status(run_id)
        return record, status, self._journal.entries(run_id)

    def _execute(self, run_id: str) -> None:
        """Body of the workflow: called by the journal on its own thread, again after every restart."""
        record = self._records.get(run_id)
        with self._runs_in_progress.registered(run_id) as active:
            recorder = StepRecorder(run_id, self._journal, self.blobs, active)
            annotation = Annotation(record, recorder, self._services, self.tasks)
            run_cycles(Steps(record, self._journal, recorder, self._services, annotation))

    def _record_and_status(self, run_id: str) -> tuple[RunRecord, RunStatus]:
        record = self._records.get(run_id)
        status = self._journal.status(run_id)
        if status is None:
            # The process died between keeping the plan and starting the run.
            raise NotFound(f"run '{run_id}' was never started: start it again with the same plan")
        return record, status

    def _message_of(self, record: RunRecord, status: RunStatus) -> orchestrator_pb2.Run:
        entries = self._journal.entries(status.run_id)
        run = orchestrator_pb2.Run(
            run_id=status.run_id,
            state=_STATES[status.state],
            cycles=record.plan.cycles,
            profile=record.profile.name,
            seed=record.plan.seed,
            error=status.error,
            steps=[_step_message(entry) for entry in entries if _has(entry, "seconds")],
            rows=[json_format.ParseDict(e.result["row"], orchestrator_pb2.ScoreRow()) for e in entries if _has(e, "row")],
        )
        run.started.FromMilliseconds(int(status.started * 1000))
        if status.finished is not None:
            run.finished.FromMilliseconds(int(status.finished * 1000))
        active = self._runs_in_progress.get(status.run_id)
        if active is not None and status.state == "running":
            run.step = active.step
            run.progress.CopyFrom(active.progress)
            if active.waiting:
                run.state = orchestrator_pb2.RUN_STATE_WAITING
        elif entries and status.state != "done":
            run.step = entries[-1].name
        cycles = [int(found[1]) for name in (run.step, *(entry.name for entry in entries)) if (found := _CYCLE.match(name))]
        run.cycle = max(cycles, default=0)
        return run


def _has(entry: JournalEntry, key: str) -> bool:
    """Whether a journal entry is a finished step ("seconds") or a row ("row")."""
    return isinstance(entry.result, dict) and key in entry.result


def _step_message(entry: JournalEntry) -> orchestrator_pb2.StepRecord:
    return orchestrator_pb2.StepRecord(name=entry.name, seconds=entry.result["seconds"], attempts=entry.result["attempts"])

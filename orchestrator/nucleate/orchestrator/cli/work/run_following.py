"""Finds and follows runs."""

from __future__ import annotations

import json
from pathlib import Path

from nucleate.client.local.installation import default_home
from nucleate.errors import NotFound, Unreachable
from nucleate.orchestrator.cli.services import ServiceConnections, running_services
from nucleate.orchestrator.cli.terminal.exit_codes import FAILED, OK, WAITING
from nucleate.orchestrator.cli.terminal.printing import duration, print_notice
from nucleate.orchestrator.cli.terminal.progress import ProgressDisplay, progress_display
from nucleate.orchestrator.cli.work.run_results import export_report, show_rows
from nucleate.v1 import orchestrator_pb2 as pb
from nucleate.v1.common_pb2 import Progress

#: An orchestrator that was killed has this long to come back before a watcher gives up.
ORCHESTRATOR_TIMEOUT_S = 120.0


def state_name(run: pb.Run) -> str:
    """Return "running", "waiting", "done", "failed" or "cancelled"."""
    return pb.RunState.Name(run.state).removeprefix("RUN_STATE_").lower()


def runs_newest_first() -> list[pb.Run]:
    """Ask the orchestrator for all runs."""
    with progress_display() as display, running_services(["orchestrator"], display) as services:
        return _runs(services)


def find_run(run_id: str) -> pb.Run:
    """Return a run, the latest if `run_id` is empty; raise `NotFound` if there is none."""
    with progress_display() as display, running_services(["orchestrator"], display) as services:
        return _find(services, run_id)


def cancel_run(run_id: str) -> pb.Run:
    """Cancel a run and return it."""
    with progress_display() as display, running_services(["orchestrator"], display) as services:
        client = services.client("orchestrator")
        run: pb.Run = client.call(client.stub.CancelRun, pb.CancelRunRequest(run_id=run_id)).run
        return run


def follow_run(run_id: str, out: Path | None, *, resume: bool = False) -> int:
    """Follow a run, the latest if `run_id` is empty, after resuming it if asked; return the exit code."""
    with progress_display() as display, running_services(["orchestrator"], display) as services:
        run = _find(services, run_id)
        if resume and run.state not in (pb.RunState.RUN_STATE_DONE, pb.RunState.RUN_STATE_RUNNING):
            client = services.client("orchestrator")
            client.call(client.stub.ResumeRun, pb.ResumeRunRequest(run_id=run.run_id))
    return watch_run(run.run_id, out)


def watch_run(run_id: str, out: Path | None = None, on_interrupt: str = "goes on; follow it with `nucleate run watch`") -> int:
    """Show a run until it ends or waits; write its report to `out` (default: where its start said). Return the exit code.

    Ctrl-C ends the watching only; `on_interrupt` is the notice of what then becomes of the run.
    """
    folder = (out or saved_output_folder(run_id)).absolute()
    with progress_display() as display, running_services(["orchestrator"], display) as services:
        try:
            run = _watch(services, run_id, display)
        except KeyboardInterrupt:
            display.note(f"run {run_id} {on_interrupt}")
            raise
        if run.state == pb.RunState.RUN_STATE_DONE:
            display.update(Progress(stage="writing the report"))
            export_report(services, run_id, folder)
    return _print_outcome(run, folder)


def saved_output_folder(run_id: str) -> Path:
    """Return the results folder a run was started with, else out/RUN."""
    try:
        return Path(json.loads((default_home() / "runs" / f"{run_id}.json").read_bytes())["out"])
    except (OSError, ValueError, KeyError, TypeError):
        return Path("out") / run_id


def _watch(services: ServiceConnections, run_id: str, display: ProgressDisplay) -> pb.Run:
    client = services.client("orchestrator")
    client.reconnect_timeout_s = ORCHESTRATOR_TIMEOUT_S
    reported, run = -1, pb.Run()
    for event in client.events(client.stub.WatchRun, pb.WatchRunRequest(run_id=run_id)):
        run = event.run
        if reported < 0:
            reported = len(run.steps)
            display.note(f"{reported} steps of {run_id} are done already" if reported else f"following {run_id}")
        for step in run.steps[reported:]:
            again = f", begun {step.attempts} times" if step.attempts > 1 else ""
            display.note(f"done  {step.name} ({duration(step.seconds)}{again})")
        reported = max(reported, len(run.steps))
        if run.state == pb.RunState.RUN_STATE_RUNNING:
            display.update(_with_cycle_and_step(run))
    if run.state == pb.RunState.RUN_STATE_RUNNING:
        raise Unreachable(f"the orchestrator stopped while {run_id} ran: `nucleate up`, then `nucleate run resume {run_id}`")
    return run


def _with_cycle_and_step(run: pb.Run) -> Progress:
    """The step's progress with cycle and step before its stage."""
    progress = Progress()
    progress.CopyFrom(run.progress)
    cycle = f"cycle {run.cycle}/{run.cycles}" if run.cycle else "before cycle 1"
    step = run.step.removeprefix(f"cycle-{run.cycle}.")
    progress.stage = f"{cycle}  {step}" + (f": {progress.stage}" if progress.stage else "")
    return progress


def _print_outcome(run: pb.Run, folder: Path) -> int:
    if run.state == pb.RunState.RUN_STATE_DONE:
        show_rows(run.rows)
        print(f"report  {folder / 'report.html'}\nmodels  {folder / 'models'}")
        return OK
    if run.state == pb.RunState.RUN_STATE_WAITING:
        print_notice(
            f"run {run.run_id} waits for annotation: see `nucleate tasks list`, then `nucleate run watch {run.run_id}`"
        )
        return WAITING
    reason = " ".join(run.error.split()) or state_name(run)
    print_notice(f"error: run {run.run_id} {state_name(run)} in {run.step or 'its first step'}: {reason}")
    print_notice(f"go on with `nucleate run resume {run.run_id}`")
    return FAILED


def _runs(services: ServiceConnections) -> list[pb.Run]:
    client = services.client("orchestrator")
    runs = client.call(client.stub.ListRuns, pb.ListRunsRequest()).runs
    return sorted(runs, key=lambda run: (run.started.seconds, run.started.nanos), reverse=True)


def _find(services: ServiceConnections, run_id: str) -> pb.Run:
    if run_id:
        client = services.client("orchestrator")
        run: pb.Run = client.call(client.stub.GetRun, pb.GetRunRequest(run_id=run_id)).run
        return run
    runs = _runs(services)
    if not runs:
        raise NotFound("there is no run yet: start one with `nucleate run start IMAGES`")
    return runs[0]

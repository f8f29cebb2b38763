"""Starts a run: files into the store, the plan to the orchestrator."""

from __future__ import annotations

import json

from nucleate.client.files.output_files import write_file
from nucleate.client.files.upload import upload_images, upload_labelled
from nucleate.client.local.installation import default_home
from nucleate.orchestrator.cli.services import Session, running_services
from nucleate.orchestrator.cli.terminal.exit_codes import OK
from nucleate.orchestrator.cli.terminal.progress import Display, progress_display
from nucleate.orchestrator.cli.work.run_following import watch_run
from nucleate.orchestrator.cli.work.run_request import Intent
from nucleate.v1 import orchestrator_pb2
from nucleate.v1.common_pb2 import Progress


def start_run(intent: Intent, *, watch: bool, **watching: str) -> int:
    """Start the run of a checked intent and follow it if asked, as `watch_run`; return the exit code."""
    with progress_display() as display, running_services(["orchestrator"], display) as session:
        remote = session.remote("orchestrator")
        request = orchestrator_pb2.StartRunRequest(run_id=intent.name, plan=_plan(intent, session, display))
        remote.call(remote.stub.StartRun, request, timeout_s=120)
        remember(intent)
        display.note(f"run {intent.name} started")
    if watch:
        return watch_run(intent.name, intent.out, **watching)
    print(intent.name)
    return OK


def remember(intent: Intent) -> None:
    """Keep where a run's results go, for `run watch` and `run resume`."""
    record = {"out": str(intent.out), "images": str(intent.images.absolute())}
    write_file(default_home() / "runs" / f"{intent.name}.json", json.dumps(record, indent=2).encode())


def _plan(intent: Intent, session: Session, display: Display) -> orchestrator_pb2.RunPlan:
    def counted(number: int, name: str) -> None:
        display.update(Progress(stage=f"storing {name}", step=number, total=len(intent.pool)))

    return orchestrator_pb2.RunPlan(
        images=upload_images(session.blobs, intent.pool, counted),
        evaluation=upload_labelled(session.blobs, intent.evaluation),
        oracle=upload_labelled(session.blobs, intent.oracle),
        cycles=intent.cycles,
        profile=intent.profile,
        seed=intent.seed,
        no_annotation=intent.no_annotation,
        images_name=str(intent.images),
        normalization_target=upload_images(session.blobs, [intent.target])[0] if intent.target else None,
        normalization=intent.normalization,
    )

"""Starts a run: files into the store, the plan to the orchestrator."""

from __future__ import annotations

import json

from nucleate.client.files.output_files import write_file
from nucleate.client.files.upload import upload_images, upload_labelled
from nucleate.client.local.installation import default_home
from nucleate.orchestrator.cli.services import ServiceConnections, running_services
from nucleate.orchestrator.cli.terminal.exit_codes import OK
from nucleate.orchestrator.cli.terminal.progress import ProgressDisplay, progress_display
from nucleate.orchestrator.cli.work.run_following import watch_run
from nucleate.orchestrator.cli.work.run_request import RunRequest
from nucleate.v1 import orchestrator_pb2
from nucleate.v1.common_pb2 import Progress


def start_run(request: RunRequest, *, watch: bool, **watching: str) -> int:
    """Start the run of a checked request and follow it if asked, as `watch_run`; return the exit code."""
    with progress_display() as display, running_services(["orchestrator"], display) as services:
        client = services.client("orchestrator")
        plan = _plan(request, services, display)
        start = orchestrator_pb2.StartRunRequest(run_id=request.name, plan=plan)
        client.call(client.stub.StartRun, start, timeout_s=120)
        save_output_folder(request)
        display.note(f"run {request.name} started")
    if watch:
        return watch_run(request.name, request.out, **watching)
    print(request.name)
    return OK


def save_output_folder(request: RunRequest) -> None:
    """Keep where a run's results go, for `run watch` and `run resume`."""
    record = {"out": str(request.out), "images": str(request.images.absolute())}
    write_file(default_home() / "runs" / f"{request.name}.json", json.dumps(record, indent=2).encode())


def _plan(request: RunRequest, services: ServiceConnections, display: ProgressDisplay) -> orchestrator_pb2.RunPlan:
    def on_uploaded(number: int, name: str) -> None:
        display.update(Progress(stage=f"storing {name}", step=number, total=len(request.pool)))

    return orchestrator_pb2.RunPlan(
        images=upload_images(services.blobs, request.pool, on_uploaded),
        evaluation=upload_labelled(services.blobs, request.evaluation),
        oracle=upload_labelled(services.blobs, request.oracle),
        cycles=request.cycles,
        profile=request.profile,
        seed=request.seed,
        no_annotation=request.no_annotation,
        images_name=str(request.images),
        normalization_target=upload_images(services.blobs, [request.target])[0] if request.target else None,
        normalization=request.normalization,
    )

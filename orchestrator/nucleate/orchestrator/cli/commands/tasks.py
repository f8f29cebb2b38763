"""tasks list | fetch | submit: annotation by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nucleate.orchestrator.cli.terminal.options import Json, Out

tasks = typer.Typer(help="Annotation tasks that wait for a person.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(tasks, name="tasks")


@tasks.command("list")
def list_tasks(
    run_id: Annotated[str, typer.Argument(metavar="[RUN]", help="Only this run's.")] = "",
    everything: Annotated[bool, typer.Option("--all", help="Also those that are done.")] = False,
    as_json: Json = False,
) -> None:
    """List annotation tasks: which window of which image."""
    from nucleate.orchestrator.cli.services import running_services
    from nucleate.orchestrator.cli.terminal.printing import as_dict, print_notice, show_json, show_table
    from nucleate.orchestrator.cli.terminal.progress import progress_display
    from nucleate.v1 import orchestrator_pb2 as pb

    with progress_display() as display, running_services(["orchestrator"], display) as services:
        client = services.client("orchestrator")
        found = client.call(client.stub.ListTasks, pb.ListTasksRequest(run_id=run_id)).tasks
    shown = [task for task in found if everything or not task.done]
    if as_json:
        show_json([as_dict(task) for task in shown])
        return
    if not shown:
        print_notice("no annotation task is open")
        return
    rows = [
        (task.task_id, task.run_id, str(task.cycle), task.image.id, _window_text(task.window), "done" if task.done else "open")
        for task in shown
    ]
    show_table(("task", "run", "cycle", "image", "window", "state"), rows)


def _window_text(window: object) -> str:
    x, y, width, height = (getattr(window, name) for name in ("x", "y", "width", "height"))
    return f"{width}x{height}+{x}+{y}"


@tasks.command()
def fetch(
    task_id: Annotated[str, typer.Argument(metavar="TASK")],
    out: Out,
) -> None:
    """Write a task's image, its proposed instances and its window (pixels, origin top-left), for work in another program."""
    import json

    from nucleate.client.files.output_files import output_folder
    from nucleate.errors import NotFound
    from nucleate.orchestrator.cli.services import running_services
    from nucleate.orchestrator.cli.terminal.progress import progress_display
    from nucleate.orchestrator.cli.work.stored_files import write_blob
    from nucleate.v1 import orchestrator_pb2 as pb

    with progress_display() as display, running_services(["orchestrator"], display) as services:
        client = services.client("orchestrator")
        found = client.call(client.stub.ListTasks, pb.ListTasksRequest()).tasks
        task = next((each for each in found if each.task_id == task_id), None)
        if task is None:
            raise NotFound(f"there is no annotation task '{task_id}': see `nucleate tasks list`")
        window = {name: getattr(task.window, name) for name in ("x", "y", "width", "height")}
        with output_folder(out) as staging:
            write_blob(services, task.image.data, staging / "image")
            if task.HasField("proposals"):
                write_blob(services, task.proposals, staging / "proposals")
            (staging / "task.json").write_text(
                json.dumps({"task": task_id, "image": task.image.id, "window": window}, indent=2)
            )
    print(f"{out.absolute()}\tdraw {_window_text(task.window)}, then: nucleate tasks submit {task_id} MASK")


@tasks.command()
def submit(
    task_id: Annotated[str, typer.Argument(metavar="TASK")],
    mask: Annotated[Path, typer.Argument(metavar="MASK", help="Instance map of the task's window: 16-bit PNG or TIFF.")],
    clicks: Annotated[int, typer.Option(min=0, help="Clicks spent, for the report.")] = 0,
    seconds: Annotated[float, typer.Option(min=0, help="Seconds spent, for the report.")] = 0.0,
) -> None:
    """Hand in the accepted mask of a task; the run goes on."""
    from nucleate.client.files.input_files import masks_in
    from nucleate.client.files.upload import upload_masks
    from nucleate.errors import InvalidInput
    from nucleate.orchestrator.cli.services import running_services
    from nucleate.orchestrator.cli.terminal.progress import progress_display
    from nucleate.orchestrator.cli.work.run_following import state_name
    from nucleate.v1 import orchestrator_pb2 as pb

    files = masks_in(mask, "MASK")
    if len(files) != 1:
        raise InvalidInput(f"MASK {mask} holds {len(files)} masks: give one file")
    with progress_display() as display, running_services(["orchestrator"], display) as services:
        (blob,) = upload_masks(services.blobs, files, sealed=False).values()
        client = services.client("orchestrator")
        request = pb.SubmitTaskRequest(task_id=task_id, instances=blob, clicks=clicks, seconds=seconds)
        run = client.call(client.stub.SubmitTask, request).run
    print(f"{task_id} accepted; run {run.run_id} {state_name(run)}")

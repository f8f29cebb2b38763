"""run start | watch | list | show | cancel | resume, and report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nucleate.orchestrator.cli.terminal.options import (
    Cycles,
    EvalImages,
    EvalMasks,
    Images,
    Json,
    Normalization,
    NormalizeTo,
    Out,
    Profile,
    RobotMasks,
    Seed,
)

run = typer.Typer(help="Runs: start, watch, list, show, cancel, resume.", no_args_is_help=True)

RunId = Annotated[str, typer.Argument(metavar="[RUN]", help="A run's name; default the latest run.")]
OutOption = Annotated[Path | None, typer.Option("--out", "-o", metavar="DIR", help="Folder for report and models.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(run, name="run")
    app.command()(report)


@run.command()
def start(
    images: Images,
    *,
    eval_images: EvalImages = None,
    eval_masks: EvalMasks = None,
    robot_masks: RobotMasks = None,
    cycles: Cycles = 2,
    profile: Profile = "cpu",
    seed: Seed = 0,
    name: Annotated[str, typer.Option(metavar="RUN", help="The run's name; default from folder and time.")] = "",
    out: OutOption = None,
    normalize_to: NormalizeTo = None,
    normalization: Normalization = "",
    no_annotation: Annotated[bool, typer.Option("--no-annotation", help="Ask nobody for masks.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the input and say what would run.")] = False,
    watch: Annotated[bool, typer.Option("--watch/--detach", help="Follow the run, or leave it to itself.")] = True,
) -> None:
    """Turn un-annotated images into a model and its score. Needs `nucleate up`."""
    from nucleate.orchestrator.cli.work.run_request import RunRequest, describe
    from nucleate.orchestrator.cli.work.run_start import start_run

    request = RunRequest(
        images=images,
        eval_images=eval_images,
        eval_masks=eval_masks,
        robot_masks=robot_masks,
        cycles=cycles,
        profile=profile,
        seed=seed,
        name=name,
        out=out,
        no_annotation=no_annotation,
        normalize_to=normalize_to,
        normalization=normalization,
    ).checked()
    if dry_run:
        print("\n".join(describe(request)))
        return
    raise typer.Exit(start_run(request, watch=watch))


@run.command()
def watch(run_id: RunId = "", out: OutOption = None) -> None:
    """Follow a run; at its end print the table and write OUT/report.{json,csv,html} and OUT/models."""
    from nucleate.orchestrator.cli.work.run_following import follow_run

    raise typer.Exit(follow_run(run_id, out))


@run.command()
def resume(run_id: RunId = "", out: OutOption = None) -> None:
    """Go on with a failed, cancelled or interrupted run from its first unfinished step, and follow it."""
    from nucleate.orchestrator.cli.work.run_following import follow_run

    raise typer.Exit(follow_run(run_id, out, resume=True))


@run.command("list")
def list_runs(as_json: Json = False) -> None:
    """List the runs, the latest first."""
    from nucleate.orchestrator.cli.terminal.printing import as_dict, print_notice, show_json, show_table
    from nucleate.orchestrator.cli.work.run_following import runs_newest_first, state_name

    runs = runs_newest_first()
    if as_json:
        show_json([as_dict(each) for each in runs])
        return
    if not runs:
        print_notice("there is no run yet: start one with `nucleate run start IMAGES`")
        return
    rows = [
        (each.run_id, state_name(each), f"{each.cycle}/{each.cycles}", each.step, each.started.ToJsonString()[:19])
        for each in runs
    ]
    show_table(("run", "state", "cycle", "step", "started (UTC)"), rows)


@run.command()
def show(run_id: RunId = "", as_json: Json = False) -> None:
    """Show one run: state, steps, scores."""
    from nucleate.orchestrator.cli.terminal.printing import as_dict, show_json
    from nucleate.orchestrator.cli.work.run_following import find_run
    from nucleate.orchestrator.cli.work.run_results import show_run

    found = find_run(run_id)
    if as_json:
        show_json(as_dict(found))
    else:
        show_run(found)


@run.command()
def cancel(
    run_id: Annotated[str, typer.Argument(metavar="RUN")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Cancel a run; finished steps are kept, and `run resume` goes on with it."""
    import sys

    from nucleate.errors import Precondition
    from nucleate.orchestrator.cli.work.run_following import cancel_run, state_name

    if not yes and not sys.stdin.isatty():
        raise Precondition(f"cancelling {run_id} needs a yes: add --yes")
    if not yes:
        typer.confirm(f"Cancel {run_id}?", abort=True, err=True)
    print(f"{run_id} {state_name(cancel_run(run_id))}")


def report(
    run_id: Annotated[str, typer.Argument(metavar="RUN")],
    out: Out,
) -> None:
    """Write a run's report and models: OUT/report.{json,csv,html}, OUT/models."""
    from nucleate.orchestrator.cli.services import running_services
    from nucleate.orchestrator.cli.terminal.progress import progress_display
    from nucleate.orchestrator.cli.work.run_results import export_report

    with progress_display() as display, running_services(["orchestrator"], display) as services:
        export_report(services, run_id, out)
    print(out.absolute() / "report.html")

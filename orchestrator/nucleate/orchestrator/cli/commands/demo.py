"""demo: whole cycles with one command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nucleate.orchestrator.cli.terminal.options import Cycles, EvalImages, EvalMasks, Profile, RobotMasks, Seed

if TYPE_CHECKING:
    from nucleate.orchestrator.cli.work.run_request import RunRequest

#: Images and side in pixels of the tissue drawn where none is given: (un-annotated pool, evaluation).
POOL, EVALUATION, SIDE = 8, 4, 512


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(demo)


def demo(
    images: Annotated[
        Path | None, typer.Argument(metavar="[IMAGES]", help="Folder of un-annotated images; default: draws its own tissue.")
    ] = None,
    *,
    eval_images: EvalImages = None,
    eval_masks: EvalMasks = None,
    robot_masks: RobotMasks = None,
    cycles: Cycles = 2,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder for report and models.")] = Path("out/demo"),
    profile: Profile = "cpu",
    seed: Seed = 0,
) -> None:
    """Start the services, run whole cycles with progress, write the report, stop the services again."""
    from nucleate.orchestrator.cli.terminal.printing import print_notice
    from nucleate.orchestrator.cli.work.run_request import RunRequest

    if images is None and (eval_images or eval_masks or robot_masks):
        raise typer.BadParameter("masks were given without IMAGES: give both, or none to draw tissue")
    if images is None:
        pool, held_out = _draw_tissue(out.absolute() / "tissue", seed)
        images, robot_masks, eval_images, eval_masks = pool / "images", pool / "masks", held_out / "images", held_out / "masks"
    elif robot_masks is None:
        print_notice(
            "no ROBOT_MASKS: nobody is asked for masks; annotate by hand with `nucleate run start` and `nucleate tasks`"
        )
    request = RunRequest(
        images=images,
        eval_images=eval_images,
        eval_masks=eval_masks,
        robot_masks=robot_masks,
        cycles=cycles,
        profile=profile,
        seed=seed,
        out=out,
        no_annotation=robot_masks is None,
    ).checked()
    raise typer.Exit(_run(request))


def _draw_tissue(folder: Path, seed: int) -> tuple[Path, Path]:
    """Draw procedural tissue with masks; return the folders of the pool and of the evaluation set."""
    import subprocess
    import sys

    from nucleate.client.local.supervisor import check_installed
    from nucleate.errors import NucleateError
    from nucleate.orchestrator.cli.terminal.printing import print_notice

    check_installed(["synthesis"])
    print_notice(f"no IMAGES: drawing {POOL} + {EVALUATION} images of tissue in {folder}")
    for name, count, each_seed in (("pool", POOL, seed), ("evaluation", EVALUATION, seed + 1_000_000)):
        arguments = {"--count": count, "--size": SIDE, "--seed": each_seed, "--out": folder / name}
        command = [
            sys.executable,
            "-m",
            "nucleate.synthesis.phantom.tissue",
            *(str(part) for pair in arguments.items() for part in pair),
        ]
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)  # noqa: S603
        if done.returncode:
            raise NucleateError(f"drawing tissue failed: {(done.stderr.strip().splitlines() or ['no reason given'])[-1]}")
    return folder / "pool", folder / "evaluation"


def _run(request: RunRequest) -> int:
    from nucleate.client.local.installation import default_home
    from nucleate.client.local.process_registry import load_registry
    from nucleate.client.local.supervisor import Supervisor
    from nucleate.orchestrator.cli.terminal.printing import print_notice
    from nucleate.orchestrator.cli.work.run_start import start_run

    def notify(name: str, what: str) -> None:
        print_notice(f"{name:<13} {what}")

    supervisor = Supervisor(default_home())
    before = load_registry(supervisor.home)
    started_before = bool(before and before.running)
    try:
        supervisor.up(notify, kept=False)
        return start_run(request, watch=True, on_interrupt="is left; go on with `nucleate up` and `nucleate run resume`")
    finally:
        now = load_registry(supervisor.home)
        if not started_before and now and not now.kept:  # nobody called `nucleate up` before or meanwhile
            supervisor.down(notify)

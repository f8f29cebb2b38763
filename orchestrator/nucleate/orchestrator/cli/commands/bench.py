"""bench clicks | realism | colornorm | compare: measurements on images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nucleate.orchestrator.cli.terminal.options import Json, Profile, Seed

bench = typer.Typer(help="Measurements; labelled images only score.", no_args_is_help=True)

METHODS = ("default", "none", "f-brs-a", "f-brs-b", "f-brs-c", "brs", "rgb-brs", "gauss-newton")
Rows = Annotated[Path, typer.Argument(help="rows.jsonl of `bench clicks --out`.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(bench, name="bench")


@bench.command()
def clicks(
    *,
    images: Annotated[Path, typer.Option(metavar="DIR", help="Folder of images, or one image.")],
    masks: Annotated[Path, typer.Option(metavar="DIR", help="Their instance masks, named as the images.")],
    model: Annotated[str, typer.Option(metavar="REF", help="An interactive model: folder or URI.")],
    nuclei: Annotated[int, typer.Option("--nuclei", "-n", min=0, max=100_000, help="Nuclei to click; 0 = all.")] = 500,
    seed: Seed = 0,
    most: Annotated[int, typer.Option("--clicks", min=1, max=64, help="Clicks per nucleus at most.")] = 20,
    jitter: Annotated[float, typer.Option(min=0, max=50, metavar="PX", help="A hand's error; 0 = the exact rule.")] = 0.0,
    method: Annotated[str, typer.Option(metavar="NAME", help=f"Refinement: {', '.join(METHODS)}.")] = "default",
    evaluations: Annotated[int, typer.Option(min=0, max=200, help="Most per click; 0 = the service's default.")] = 0,
    spend_all: Annotated[bool, typer.Option("--spend-all", help="Spend them all on every click.")] = False,
    patches: Annotated[int, typer.Option(min=0, max=1000, help="Windows to correct from proposals; 0 = none.")] = 0,
    patch_size: Annotated[int, typer.Option(min=32, max=4096, help="Side of a window in px.")] = 400,
    target_pq: Annotated[float, typer.Option(min=0.01, max=1, help="A window is done at this PQ.")] = 0.6,
    proposals: Annotated[
        str, typer.Option(metavar="SOURCE", help="'classical', a HoVer-Net model, or a folder of instance maps.")
    ] = "classical",
    out: Annotated[Path | None, typer.Option("--out", "-o", metavar="DIR", help="Folder for rows, figures, picture.")] = None,
    as_json: Json = False,
) -> None:
    """Count a robot's clicks on nuclei: mean IoU after k clicks, NoC@80/85/90, times, obedience.

    Every click goes to the deepest point of the larger error region; a nucleus ends at IoU .90 or after --clicks, and one that
    fails counts as --clicks. Nuclei under 16 px are left out. With --patches the robot also corrects proposals, one click or
    deletion at a time (choosing an object is free), until a window's PQ reaches --target-pq.
    """
    from nucleate.orchestrator.cli.work.click_bench import ClickBenchOptions, measure

    options = ClickBenchOptions(
        images=images,
        masks=masks,
        model=model,
        nuclei=nuclei,
        seed=seed,
        clicks=most,
        jitter=jitter,
        method=method,
        evaluations=evaluations,
        spend_all=spend_all,
        patches=patches,
        patch_size=patch_size,
        target_pq=target_pq,
        proposals=proposals,
    )
    measure(options, out, as_json=as_json)


@bench.command()
def realism(
    *,
    real: Annotated[Path, typer.Option(metavar="DIR", help="Folder of real images.")],
    synthetic: Annotated[Path, typer.Option(metavar="DIR", help="Folder of synthetic images, as `synthesize` wrote it.")],
    crops: Annotated[int, typer.Option(min=0, max=400, help="Crops of 128 px per real image; 0 = 24.")] = 0,
    seed: Seed = 0,
    out: Annotated[Path | None, typer.Option("--out", "-o", metavar="DIR", help="Folder for figures, contact sheet.")] = None,
    as_json: Json = False,
) -> None:
    """Tell synthetic images from real ones: AUC of a classifier on source images it has not seen, and distances.

    .5 is indistinguishable, 1 is seen at a glance. What was drawn from one real image is held out together with it.
    """
    from nucleate.orchestrator.cli.work.realism_bench import measure_realism

    measure_realism(real, synthetic, out, seed=seed, crops=crops, as_json=as_json)


@bench.command()
def colornorm(
    *,
    images: Annotated[Path, typer.Option(metavar="DIR", help="Folder of images of at least six patients.")],
    masks: Annotated[Path, typer.Option(metavar="DIR", help="Their instance masks, which HoVer-Net is TRAINED on here.")],
    arms: Annotated[str, typer.Option(metavar="NAMES", help="Comma-separated; default: all.")] = "",
    target: Annotated[str, typer.Option(metavar="ID", help="Training image to normalize to; default: the first one.")] = "",
    runs: Annotated[int, typer.Option(min=1, max=20, help="Trainings per arm, each of its own seed.")] = 5,
    profile: Profile = "cpu",
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Repeat the report's table 6.1: what colour normalization does to a supervised HoVer-Net on patients it has not seen.

    Images are split by patient (TCGA barcode, else one patient per image) 20:5:5 into training, validation and test. Arms are
    `none`, every method, all without augmentation of stains, and `augmentation`, which has it in their place.
    """
    from nucleate.orchestrator.cli.work.table61 import Table61Options, measure

    options = Table61Options(images, masks, tuple(filter(None, arms.split(","))), target, runs, profile, seed)
    measure(options, as_json=as_json)


@bench.command()
def compare(before: Rows, after: Rows, as_json: Json = False) -> None:
    """Compare two measurements of the same nuclei: AFTER minus BEFORE with 95 % bootstrap intervals."""
    from nucleate.orchestrator.cli.terminal.printing import show_json, show_table
    from nucleate.orchestrator.cli.work.paired_comparison import differences, read_rows

    found = differences(read_rows(before), read_rows(after))
    if as_json:
        show_json(found)
        return
    rows = [
        (name, *(f"{each[key]:.3f}" for key in ("before", "after")), f"{each['difference']:+.3f}", _span(each["interval"], "+"))
        for name, each in found["figures"].items()
    ]
    show_table((f"{found['n']} nuclei", "before", "after", "difference", "95 %"), rows)


def _span(interval: list[float], sign: str) -> str:
    return f"{interval[0]:{sign}.3f} to {interval[1]:{sign}.3f}"

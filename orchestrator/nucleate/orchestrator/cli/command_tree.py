"""The tree of commands."""

from __future__ import annotations

from typing import Annotated

import typer

from nucleate.orchestrator.cli.commands import bench, click, demo, images, installation, runs, segment, tasks
from nucleate.orchestrator.cli.terminal.exit_codes import EPILOG
from nucleate.orchestrator.cli.terminal.output_guard import guard_outputs

app = typer.Typer(
    name="nucleate",
    help="Un-annotated H&E images in; a nuclei segmentation model, its score and a report out.",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(requested: bool) -> None:
    if requested:
        from importlib.metadata import version

        print(version("nucleate"))
        raise typer.Exit


@app.callback()
def _options(
    _version_requested: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    pass


installation.register(app)
runs.register(app)
tasks.register(app)
images.register(app)
segment.register(app)
click.register(app)
bench.register(app)
demo.register(app)
guard_outputs(app)

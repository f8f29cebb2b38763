"""A run's results: the table on stdout, the report and the models in a folder."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from nucleate.client.files.model_folders import save_model
from nucleate.client.files.output_files import output_folder
from nucleate.errors import NucleateError
from nucleate.orchestrator.cli.services import ServiceConnections
from nucleate.orchestrator.cli.terminal.printing import duration, show_table
from nucleate.orchestrator.report import render
from nucleate.v1 import orchestrator_pb2 as pb

HEADINGS = ("", "DICE1", "DICE2", "AJI", "AJI+", "PQ", "DQ", "SQ", "clicks", "nuclei", "time")
_SCORES = ("dice1", "dice2", "aji", "ajip", "pq", "dq", "sq")


def show_rows(rows: Iterable[pb.ScoreRow]) -> None:
    """Print the score table: the classical row, then one row a cycle."""
    show_table(
        HEADINGS, [(row.name, *_cells(row), str(row.clicks), str(row.annotated_nuclei), duration(row.seconds)) for row in rows]
    )


def _cells(row: pb.ScoreRow) -> list[str]:
    return [f"{getattr(row.scores, name):.3f}" if row.HasField("scores") else "-" for name in _SCORES]


def show_run(run: pb.Run) -> None:
    """Print one run: state, steps with their seconds, scores."""
    state = pb.RunState.Name(run.state).removeprefix("RUN_STATE_").lower()
    print(f"{run.run_id}  {state}  cycle {run.cycle}/{run.cycles}  profile {run.profile}  seed {run.seed}  {run.step}".rstrip())
    if run.error:
        print(run.error)
    if run.steps:
        show_table(
            ("step", "time", "attempts"), [(step.name, duration(step.seconds), str(step.attempts)) for step in run.steps]
        )
    if run.rows:
        show_rows(run.rows)


def export_report(services: ServiceConnections, run_id: str, out: Path) -> None:
    """Write OUT/models/KIND, and OUT/report.{json,csv,html} whose model references are the absolute paths of those folders.

    Raises:
        NucleateError: the data of the report cannot be read.
    """
    out = out.absolute()
    client = services.client("orchestrator")
    response = client.call(client.stub.GetReport, pb.GetReportRequest(run_id=run_id), timeout_s=120)
    try:
        data = dict(json.loads(services.blobs.get(response.data)))
    except ValueError:
        raise NucleateError(f"the report of {run_id} cannot be read: are client and services of one version?") from None
    report = render(data, {kind: str(out / "models" / kind) for kind in sorted(response.models)})
    with output_folder(out) as staging:
        for kind, model in response.models.items():
            save_model(model, staging / "models" / kind, services.blobs)
        for suffix in ("json", "csv", "html"):
            (staging / f"report.{suffix}").write_text(getattr(report, suffix), encoding="utf-8")
    for kind, model in response.models.items():
        _remove_stale_files(out / "models" / kind, {*model.files, "card.json"})


def _remove_stale_files(folder: Path, names: set[str]) -> None:
    """Remove the files of an earlier model: a model folder is read as a whole."""
    for path in folder.iterdir():
        if path.is_file() and path.name not in names:
            path.unlink()

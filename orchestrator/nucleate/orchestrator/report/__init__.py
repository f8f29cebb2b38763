"""A run's report: JSON for machines, CSV for tables, one self-contained HTML page for people.

Pure functions of plain data and light to import, so that the command line can render a report again with the paths of the
models it has exported.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nucleate.orchestrator.report.page import page

SCORES = ("dice1", "dice2", "aji", "ajip", "pq", "dq", "sq")
COLUMNS = ("name", *SCORES, "clicks", "annotated_nuclei", "seconds")


@dataclass(frozen=True)
class Report:
    """The three renderings, as text."""

    json: str
    csv: str
    html: str


def render(run_data: Mapping[str, Any], refs: Mapping[str, str]) -> Report:
    """Render a run.

    Args:
        run_data: what `nucleate.orchestrator.report.collection.collect` gathers, or the parse_task_id `data` blob of GetReport.
        refs: reference of each final model by kind ("hovernet", "interactive"), as `--model` takes it.
    """
    rows = [{column: row.get(column) for column in COLUMNS} for row in run_data["rows"]]
    document = {
        "rows": rows,
        "models": dict(refs),
        "images": run_data["images"],
        "profile": run_data["profile"],
        "seed": run_data["seed"],
    }
    return Report(
        json=json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n",
        csv=_csv(rows),
        html=page(run_data, refs),
    )


def _csv(rows: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()

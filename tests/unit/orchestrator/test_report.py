"""The three renderings of a run: exact JSON, parseable HTML and SVG, nothing fetched, nothing injected."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import pytest

from nucleate.orchestrator.report import COLUMNS, SCORES, render
from nucleate.orchestrator.report.charts import TABLE_4_1, score_chart


def run_data(*, scored: bool = True, images: str = "pool/images") -> dict:
    def row(name: str, pq: float, clicks: int) -> dict:
        scores = dict.fromkeys(SCORES, pq if scored else None)
        return {"name": name, **scores, "clicks": clicks, "annotated_nuclei": clicks, "seconds": 61.25}

    rows = [row("classical", 0.379, 0), row("cycle 1", 0.43, 0), row("cycle 2", 0.47, 523)]
    each = {"id": "<b>slide</b>", **rows[2], "nuclei_true": 3, "nuclei_predicted": 4, "both_empty": False, "classical_pq": 0.5}
    picture = {"caption": "c", "media_type": "image/png", "base64": "iVBORw0KGgo="}
    return {
        "run_id": "r",
        "state": "done",
        "images": images,
        "image_count": 16,
        "evaluation_count": 14,
        "profile": "cpu",
        "seed": 7,
        "cycles": 2,
        "annotator": "robot",
        "version": "0.1.0",
        "started": "s",
        "finished": None,
        "settings": {"patches": 6},
        "rows": rows,
        "per_image_of": "cycle 2",
        "per_image": [each] if scored else [],
        "annotation": [{"cycle": 1, "windows": 6, "clicks": 523, "nuclei": 401, "seconds": 802.0, "mean_iou": 0.8}],
        "gate": {"accepted": 20, "refused": 4},
        "datasets": [{"cycle": 1, "samples": {"synthetic": 4, "refined": 20, "pseudo": 16, "accepted": 0}}],
        "pictures": {
            "mosaics": [picture],
            "contours": [picture],
            "patches": [{**picture, "width": 4, "height": 3, "outline": "M1 1H3"}],
        },
        "steps": [{"name": "cycle-1.wait", "seconds": 9e5, "attempts": 2}, {"name": "cycle-1.x", "seconds": 5, "attempts": 1}],
    }


class Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []

    def handle_starttag(self, tag, attributes) -> None:
        self.sources += [value for key, value in attributes if key in ("src", "href") and value]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag


def test_json_has_exactly_the_promised_keys() -> None:
    document = json.loads(render(run_data(), {"hovernet": "/out/models/hovernet"}).json)
    assert list(document) == ["rows", "models", "images", "profile", "seed"]
    assert all(tuple(row) == COLUMNS for row in document["rows"])
    assert document["rows"][2] == {**dict.fromkeys(SCORES, 0.47), "name": "cycle 2", "clicks": 523,
        "annotated_nuclei": 523, "seconds": 61.25}  # fmt: skip
    assert document["models"] == {"hovernet": "/out/models/hovernet"}


def test_scores_are_null_and_csv_cells_empty_without_an_evaluation_set() -> None:
    report = render(run_data(scored=False), {})
    assert json.loads(report.json)["rows"][0]["pq"] is None
    assert next(csv.DictReader(io.StringIO(report.csv)))["pq"] == ""
    assert "No labelled evaluation set" in report.html


def test_html_is_well_formed_and_self_contained() -> None:
    text = render(run_data(images='"><script>alert(1)</script>'), {"hovernet": "<x>"}).html
    page = Page()
    page.feed(text)
    assert page.open == []
    assert "<script" not in text
    assert "<b>slide" not in text
    assert all(source.startswith("data:image/") for source in page.sources)
    assert not re.search(r"https?://|@import|url\(", text)
    for svg in re.findall(r"<svg.*?</svg>", text, re.DOTALL):
        ET.fromstring(svg)


def test_page_says_what_was_spent_and_gained() -> None:
    text = render(run_data(), {}).html
    assert "PQ, +0.091 on classical" in text
    assert "<td>2.00</td>" in text  # 802 s for 401 nuclei
    assert "5.0 s" in text  # waiting for people is not work
    assert "−0.030" in text  # the one image got worse


def test_chart_draws_our_line_the_reports_and_the_classical_one() -> None:
    chart = score_chart("PQ", "pq", [0.4, None, 0.5], 0.379)
    for value in (*TABLE_4_1["pq"], 0.4, 0.5):
        assert f": {value:.3f}</title>" in chart
    assert "classical: 0.379" in chart
    many = score_chart("PQ", "pq", [index / 50 for index in range(50)], None)
    assert many.count('class="tick"') < 25


@pytest.mark.parametrize("module", ["nucleate.orchestrator.report", "nucleate.orchestrator"])
def test_rendering_needs_the_standard_library_only(module) -> None:
    heavy = ["numpy", "dbos", "grpc", "google.protobuf", "pydantic"]
    code = f"import sys, {module}; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"

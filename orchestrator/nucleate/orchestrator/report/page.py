"""The HTML report, section by section. Everything is inline: the page opens from a mail attachment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from html import escape
from importlib.resources import files
from typing import Any

from nucleate.orchestrator.report.charts import legend, score_chart
from nucleate.orchestrator.report.markup import change, definitions, duration, per, picture, score, table, tile

_SCORES = {"dice1": "DICE1", "dice2": "DICE2", "aji": "AJI", "ajip": "AJI+", "pq": "PQ", "dq": "DQ", "sq": "SQ"}
_ANNOTATORS = {
    "robot": "a robot that clicks through the interactive service, looking at sealed oracle masks",
    "person": "people",
    "nobody": "nobody (--no-annotation)",
}


def page(run: Mapping[str, Any], refs: Mapping[str, str]) -> str:
    """Render the whole page."""
    sections = [_header(run), _charts(run), _rows(run), _annotation(run), _pictures(run), _images(run), _provenance(run, refs)]
    title = f"nucleate run {run['run_id']}"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_style()}</style></head>\n"
        f"<body><main>{''.join(sections)}</main></body></html>\n"
    )


@cache
def _style() -> str:
    return files(__package__).joinpath("style.css").read_text(encoding="utf-8")


def _header(run: Mapping[str, Any]) -> str:
    rows = _cycles(run)
    state = "" if run["state"] == "done" else f" · {escape(run['state'])}"
    line = (
        f"{run['image_count']} un-annotated images · {len(rows)} of {run['cycles']} cycles · profile {escape(run['profile'])}"
    )
    tiles = []
    if rows and rows[-1].get("pq") is not None:
        last, classical = rows[-1], _classical(run)
        for key in ("dice1", "aji", "pq"):
            gain = None if classical.get(key) is None else last[key] - classical[key]
            tone = "" if gain is None else "good" if gain > 0 else "bad"
            label = _SCORES[key] if gain is None else f"{_SCORES[key]}, {gain:+.3f} on classical".replace("-", "−")
            tiles.append(tile(score(last[key]), label, tone))
    clicks, nuclei = _annotation_totals(run)
    tiles.append(tile(f"{clicks:,}", f"clicks for {nuclei:,} annotated nuclei"))
    work = sum(step["seconds"] for step in run["steps"] if not step["name"].endswith(".wait"))
    tiles.append(tile(duration(work), "of work in all steps"))
    return (
        f"<header><h1>Nuclei segmentation of {escape(run['images'] or 'un-annotated images')}</h1>"
        f"<p>Run {escape(run['run_id'])}{state} · {line}</p></header>"
        f'<div class="tiles">{"".join(tiles)}</div>'
    )


def _charts(run: Mapping[str, Any]) -> str:
    rows = _cycles(run)
    intro = "<h2>Score by cycle</h2>"
    if not any(row.get("pq") is not None for row in (*rows, _classical(run))):
        return f"{intro}<p>No labelled evaluation set was given, so there are no scores: judge by the pictures below.</p>"
    charts = "".join(
        score_chart(_SCORES[key], key, [row.get(key) for row in rows], _classical(run).get(key))
        for key in ("dice1", "aji", "pq")
    )
    note = (
        f"<p>Mean over {run['evaluation_count']} labelled images that no training step can open. The report does not say on "
        "which split it measured its Table 4.1: compare the course of the lines rather than their height.</p>"
    )
    return f'{intro}{note}<div class="charts">{charts}</div>{legend(_classical(run).get("pq") is not None)}'


def _rows(run: Mapping[str, Any]) -> str:
    rows = run["rows"]
    scored = [index for index, row in enumerate(rows) if row.get("pq") is not None]
    best = max(scored, key=lambda index: rows[index]["pq"], default=None)
    head = ["", *_SCORES.values(), "clicks so far", "nuclei so far", "time"]
    body = [
        [escape(row["name"]), *(score(row.get(key)) for key in _SCORES), f"{row['clicks']:,}", f"{row['annotated_nuclei']:,}",
         duration(row["seconds"])]
        for row in rows
    ]  # fmt: skip
    note = "<p>Clicks and nuclei are those accepted before the cycle's training; the row with the best PQ is set off.</p>"
    return f"<h2>All scores</h2>{note}{table(head, body, best)}"


def _annotation(run: Mapping[str, Any]) -> str:
    rows = run["annotation"]
    if not rows:
        return ""
    head = ["after cycle", "windows", "nuclei", "clicks", "clicks per nucleus", "time", "seconds per nucleus"]
    robot = run["annotator"] == "robot"
    body = []
    for row in rows:
        cells = [str(row["cycle"]), str(row["windows"]), f"{row['nuclei']:,}", f"{row['clicks']:,}"]
        cells += [per(row["clicks"], row["nuclei"]), duration(row["seconds"]), per(row["seconds"], row["nuclei"])]
        body.append([*cells, score(row.get("mean_iou"))] if robot else cells)
    if robot:
        head.append("IoU with oracle")
    who = _ANNOTATORS[run["annotator"]]
    return f"<h2>Annotation</h2><p>Clicked by {who}.</p>{table(head, body)}"


def _pictures(run: Mapping[str, Any]) -> str:
    parts = []
    for title, note, key, kind in (
        ("Synthetic to refined", f"Synthetic images above, the same refined below.{_gate(run)}", "mosaics", "wide"),
        ("Predicted contours", "What the last HoVer-Net finds.", "contours", "large"),
        ("Annotated windows", "Accepted masks over the windows that were chosen for annotation.", "patches", ""),
    ):
        if images := run["pictures"][key]:
            shown = "".join(picture(image) for image in images)
            parts.append(f'<h2>{title}</h2><p>{note}</p><div class="pictures {kind}">{shown}</div>')
    return "".join(parts)


def _gate(run: Mapping[str, Any]) -> str:
    gate = run["gate"]
    if not gate["accepted"] + gate["refused"]:
        return ""
    return (
        f" The mask gate let {gate['accepted']} refined images pass; {gate['refused']} were kept unrefined, because refining "
        "moved or dissolved their nuclei."
    )


def _images(run: Mapping[str, Any]) -> str:
    if not run["per_image"]:
        return ""
    head = ["image", "nuclei", "found", "DICE1", "AJI", "PQ", "classical PQ", "PQ gained"]
    body = []
    for row in run["per_image"]:
        base = row.get("classical_pq")
        gain = None if base is None or row["both_empty"] else row["pq"] - base
        marks = " (empty in both, left out of the mean)" if row["both_empty"] else ""
        body.append(
            [
                escape(row["id"]) + marks,
                f"{row['nuclei_true']:,}",
                f"{row['nuclei_predicted']:,}",
                *(score(row[key]) for key in ("dice1", "aji", "pq")),
                score(base),
                change(gain),
            ]
        )
    return f"<h2>Image by image</h2><p>{escape(run['per_image_of']).capitalize()} on the evaluation set.</p>{table(head, body)}"


def _provenance(run: Mapping[str, Any], refs: Mapping[str, str]) -> str:
    facts = {
        "started": run["started"],
        "finished": run["finished"] or "not yet",
        "seed": run["seed"],
        "annotated by": _ANNOTATORS[run["annotator"]],
        "version": f"nucleate {run['version']}",
        **{f"{kind} model": ref for kind, ref in refs.items()},
        **{f"training set, cycle {each['cycle']}": _composition(each) for each in run["datasets"]},
    }
    steps = table(
        ["step", "time", "begun"],
        [[escape(step["name"]), duration(step["seconds"]), f"{step['attempts']}×"] for step in run["steps"]],
    )
    return (
        f"<h2>Where this comes from</h2>{definitions(facts)}"
        f"<details><summary>Settings of the run</summary>{definitions(run['settings'])}</details>"
        f"<details><summary>{len(run['steps'])} steps</summary>{steps}</details>"
    )


def _composition(dataset: Mapping[str, Any]) -> str:
    return ", ".join(f"{count} {origin}" for origin, count in dataset["samples"].items() if count)


def _cycles(run: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return [row for row in run["rows"] if row["name"] != "classical"]


def _classical(run: Mapping[str, Any]) -> Mapping[str, Any]:
    return next((row for row in run["rows"] if row["name"] == "classical"), {})


def _annotation_totals(run: Mapping[str, Any]) -> tuple[int, int]:
    return sum(row["clicks"] for row in run["annotation"]), sum(row["nuclei"] for row in run["annotation"])

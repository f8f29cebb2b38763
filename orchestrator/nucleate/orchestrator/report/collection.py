"""Gathers what a report shows from a run's record, its journal and the object store."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from google.protobuf import json_format

from nucleate.client.files.image_files import read_instance_map
from nucleate.client.files.model_folders import store_model
from nucleate.dataset.manifest import Dataset
from nucleate.errors import NucleateError
from nucleate.orchestrator.loop.journal import Entry, RunStatus
from nucleate.orchestrator.loop.run_plan import RunRecord
from nucleate.orchestrator.loop.step_records import M, read
from nucleate.orchestrator.loop.training_set import composition
from nucleate.orchestrator.report import SCORES, render
from nucleate.orchestrator.report.outlines import outline_path
from nucleate.runtime.blobs import Blobs
from nucleate.v1 import annotator_pb2, common_pb2, hovernet_pb2, interactive_pb2, orchestrator_pb2, refiner_pb2

# Pictures are embedded as they are stored: a few megabytes in all.
_MAX_CONTOURS = 3
_MAX_PATCHES = 8


def report_of(
    record: RunRecord, status: RunStatus, entries: Sequence[Entry], blobs: Blobs
) -> orchestrator_pb2.GetReportResponse:
    """Render what a run has found so far; a finished run gives the same bytes every time."""
    facts = _Facts(record, entries, blobs)
    models = facts.models()
    refs = {kind: store_model(model, blobs) for kind, model in models.items()}
    data = collect(record, status, facts)
    report = render(data, refs)
    return orchestrator_pb2.GetReportResponse(
        json=blobs.put(report.json.encode(), "application/json"),
        csv=blobs.put(report.csv.encode(), "text/csv"),
        html=blobs.put(report.html.encode(), "text/html"),
        models=models,
        data=blobs.put(json.dumps(data, ensure_ascii=False).encode(), "application/json"),
    )


class _Facts:
    """Finished steps of a run by name, read on demand."""

    def __init__(self, record: RunRecord, entries: Sequence[Entry], blobs: Blobs) -> None:
        self.record = record
        self.blobs = blobs
        self.steps = {e.name: e.result for e in entries if isinstance(e.result, dict) and "seconds" in e.result}
        self.rows = [e.result["row"] for e in entries if isinstance(e.result, dict) and "row" in e.result]

    def result(self, name: str, kind: type[M]) -> M | None:
        """The result of a step, or None if it is not finished."""
        return read(self.steps[name], kind, self.blobs) if name in self.steps else None

    def by_cycle(self, suffix: str, kind: type[M]) -> Iterator[tuple[int, M]]:
        """Results of the steps "cycle-K.SUFFIX" in order; `suffix` is a regular expression."""
        for name in self.steps:
            if match := re.fullmatch(rf"cycle-(\d+)\.{suffix}", name):
                yield int(match[1]), read(self.steps[name], kind, self.blobs)

    def models(self) -> dict[str, common_pb2.Model]:
        """The last trained model of each kind."""
        hovernet = [each for _, each in self.by_cycle("train-hovernet", hovernet_pb2.HoverNetServiceTrainResult)]
        interactive = [each for _, each in self.by_cycle("train-interactive", interactive_pb2.InteractiveServiceTrainResult)]
        pairs = (("hovernet", hovernet), ("interactive", interactive))
        return {kind: results[-1].model for kind, results in pairs if results}


def collect(record: RunRecord, status: RunStatus, facts: _Facts) -> dict[str, Any]:
    """Everything `nucleate.orchestrator.report.render` wants, as plain JSON values."""
    plan = record.plan
    cycle = max((number for number, _ in facts.by_cycle("segment", hovernet_pb2.SegmentResult)), default=0)
    per_image = _per_image(facts, cycle)
    return {
        "run_id": record.run_id,
        "state": status.state,
        "images": plan.images_name,
        "image_count": len(plan.images),
        "evaluation_count": len(plan.evaluation),
        "profile": record.profile.name,
        "seed": plan.seed,
        "cycles": plan.cycles,
        "annotator": record.annotator,
        "version": record.version,
        "started": _time(status.started),
        "finished": None if status.finished is None else _time(status.finished),
        "settings": record.profile.to_json(),
        "rows": [_row(row) for row in facts.rows],
        "per_image_of": f"cycle {cycle}",
        "per_image": per_image,
        "annotation": _annotation(facts),
        "gate": _gate(facts),
        "datasets": [
            {"cycle": number, "samples": composition(Dataset.from_json(facts.blobs.get(dataset.manifest)))}
            for number, dataset in facts.by_cycle("dataset", common_pb2.Dataset)
        ],
        "pictures": {"mosaics": _mosaics(facts), "contours": _contours(facts, cycle, per_image), "patches": _patches(facts)},
        "steps": [{"name": n, "seconds": s["seconds"], "attempts": s["attempts"]} for n, s in facts.steps.items()],
    }


def _row(row: dict[str, Any]) -> dict[str, Any]:
    message = json_format.ParseDict(row, orchestrator_pb2.ScoreRow())
    scores = message.scores if message.HasField("scores") else None
    return {
        "name": message.name,
        **{key: None if scores is None else getattr(scores, key) for key in SCORES},
        "clicks": message.clicks,
        "annotated_nuclei": message.annotated_nuclei,
        "seconds": round(message.seconds, 3),
    }


def _per_image(facts: _Facts, cycle: int) -> list[dict[str, Any]]:
    latest = facts.result(f"cycle-{cycle}.evaluate", hovernet_pb2.EvaluateResult)
    classical = facts.result("classical.evaluate", hovernet_pb2.EvaluateResult)
    if latest is None or classical is None:
        return []
    before = {each.id: each.scores.pq for each in classical.images}
    return [
        {
            "id": each.id,
            **{key: getattr(each.scores, key) for key in SCORES},
            "nuclei_true": each.nuclei_true,
            "nuclei_predicted": each.nuclei_predicted,
            "both_empty": each.both_empty,
            "classical_pq": before.get(each.id),
        }
        for each in latest.images
    ]


def _annotation(facts: _Facts) -> list[dict[str, Any]]:
    cycles: dict[int, list[annotator_pb2.AnnotatePatchResult]] = {}
    for number, result in facts.by_cycle(r"annotate-\d+", annotator_pb2.AnnotatePatchResult):
        cycles.setdefault(number, []).append(result)
    return [
        {
            "cycle": number,
            "windows": len(results),
            "clicks": sum(each.clicks for each in results),
            "nuclei": sum(each.nuclei for each in results),
            "seconds": round(sum(each.seconds for each in results), 3),
            "mean_iou": sum(each.mean_iou for each in results) / len(results),
        }
        for number, results in cycles.items()
    ]


def _gate(facts: _Facts) -> dict[str, int]:
    verdicts = [
        each.gate.accepted for _, result in facts.by_cycle("refine", refiner_pb2.RefineResult) for each in result.samples
    ]
    return {"accepted": sum(verdicts), "refused": len(verdicts) - sum(verdicts)}


def _mosaics(facts: _Facts) -> list[dict[str, Any]]:
    shown = [
        _picture(facts, result.preview, f"Cycle {number}")
        for number, result in facts.by_cycle("refine", refiner_pb2.RefineResult)
        if result.HasField("preview")
    ]
    return [each for each in shown[-1:] if each]


def _contours(facts: _Facts, cycle: int, per_image: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Best, median and worst image by PQ; without scores, the first few."""
    result = facts.result(f"cycle-{cycle}.segment", hovernet_pb2.SegmentResult)
    if result is None:
        return []
    drawn = {each.id: each for each in result.images if each.HasField("overlay")}
    ranked = sorted((row for row in per_image if row["id"] in drawn), key=lambda row: -row["pq"])
    captions: dict[str, str] = {}
    if ranked:
        for place, row in (("best", ranked[0]), ("median", ranked[len(ranked) // 2]), ("worst", ranked[-1])):
            captions.setdefault(row["id"], f"{row['id']}: PQ {row['pq']:.3f}, the {place}")
    else:
        captions = {name: f"{name}: {each.nuclei} nuclei" for name, each in list(drawn.items())[:_MAX_CONTOURS]}
    shown = [_picture(facts, drawn[name].overlay, caption) for name, caption in captions.items()]
    return [each for each in shown if each]


def _patches(facts: _Facts) -> list[dict[str, Any]]:
    results = list(facts.by_cycle(r"annotate-\d+", annotator_pb2.AnnotatePatchResult))
    shown = []
    for number, result in results[-_MAX_PATCHES:]:
        caption = f"After cycle {number}: {result.nuclei} nuclei, {result.clicks} clicks, {result.seconds:.0f} s"
        if image := _picture(facts, result.accepted.image, caption):
            shown.append({**image, **_outline(facts, result.accepted.instances)})
    return shown


def _outline(facts: _Facts, blob: common_pb2.Blob) -> dict[str, Any]:
    try:
        found = read_instance_map(facts.blobs.get(blob), "accepted mask")
    except NucleateError:
        return {}
    return {"width": found.width, "height": found.height, "outline": outline_path(found)}


def _picture(facts: _Facts, blob: common_pb2.Blob, caption: str) -> dict[str, Any] | None:
    """Embed a picture; a report without one is better than none."""
    try:
        data = facts.blobs.get(blob)
    except NucleateError:
        return None
    return {"caption": caption, "media_type": blob.media_type, "base64": base64.b64encode(data).decode()}


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")

"""Gathers what a report shows from a run's record, its journal and the object store."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from google.protobuf import json_format

from nucleate.client.files.model_folders import store_model
from nucleate.dataset.manifest import Dataset
from nucleate.orchestrator.loop.journal import JournalEntry, RunStatus
from nucleate.orchestrator.loop.run_plan import RunRecord
from nucleate.orchestrator.loop.training_set import composition
from nucleate.orchestrator.report import SCORES, render
from nucleate.orchestrator.report.finished_steps import FinishedSteps
from nucleate.orchestrator.report.pictures import contours, mosaics, patches
from nucleate.runtime.blobs import Blobs
from nucleate.v1 import annotator_pb2, common_pb2, hovernet_pb2, orchestrator_pb2, refiner_pb2


def report_of(
    record: RunRecord, status: RunStatus, entries: Sequence[JournalEntry], blobs: Blobs
) -> orchestrator_pb2.GetReportResponse:
    """Render what a run has found so far; a finished run gives the same bytes every time."""
    steps = FinishedSteps(entries, blobs)
    models = steps.models()
    refs = {kind: store_model(model, blobs) for kind, model in models.items()}
    data = collect(record, status, steps)
    report = render(data, refs)
    return orchestrator_pb2.GetReportResponse(
        json=blobs.put(report.json.encode(), "application/json"),
        csv=blobs.put(report.csv.encode(), "text/csv"),
        html=blobs.put(report.html.encode(), "text/html"),
        models=models,
        data=blobs.put(json.dumps(data, ensure_ascii=False).encode(), "application/json"),
    )


def collect(record: RunRecord, status: RunStatus, steps: FinishedSteps) -> dict[str, Any]:
    """Everything `nucleate.orchestrator.report.render` wants, as plain JSON values."""
    plan = record.plan
    cycle = max((number for number, _ in steps.by_cycle("segment", hovernet_pb2.SegmentResult)), default=0)
    per_image = _per_image(steps, cycle)
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
        "rows": [_row(row) for row in steps.rows],
        "per_image_of": f"cycle {cycle}",
        "per_image": per_image,
        "annotation": _annotation(steps),
        "gate": _gate(steps),
        "datasets": [
            {"cycle": number, "samples": composition(Dataset.from_json(steps.blobs.get(dataset.manifest)))}
            for number, dataset in steps.by_cycle("dataset", common_pb2.Dataset)
        ],
        "pictures": {"mosaics": mosaics(steps), "contours": contours(steps, cycle, per_image), "patches": patches(steps)},
        "steps": [{"name": n, "seconds": s["seconds"], "attempts": s["attempts"]} for n, s in steps.by_name.items()],
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


def _per_image(steps: FinishedSteps, cycle: int) -> list[dict[str, Any]]:
    latest = steps.result(f"cycle-{cycle}.evaluate", hovernet_pb2.EvaluateResult)
    classical = steps.result("classical.evaluate", hovernet_pb2.EvaluateResult)
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


def _annotation(steps: FinishedSteps) -> list[dict[str, Any]]:
    cycles: dict[int, list[annotator_pb2.AnnotatePatchResult]] = {}
    for number, result in steps.by_cycle(r"annotate-\d+", annotator_pb2.AnnotatePatchResult):
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


def _gate(steps: FinishedSteps) -> dict[str, int]:
    verdicts = [
        each.gate.accepted for _, result in steps.by_cycle("refine", refiner_pb2.RefineResult) for each in result.samples
    ]
    return {"accepted": sum(verdicts), "refused": len(verdicts) - sum(verdicts)}


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")

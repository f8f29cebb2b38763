"""The report's pictures, embedded as they are stored: a few megabytes in all."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from nucleate.client.files.image_files import read_instance_map
from nucleate.errors import NucleateError
from nucleate.orchestrator.report.finished_steps import FinishedSteps
from nucleate.orchestrator.report.outlines import outline_path
from nucleate.v1 import annotator_pb2, common_pb2, hovernet_pb2, refiner_pb2

_MAX_CONTOURS = 3
_MAX_PATCHES = 8


def mosaics(steps: FinishedSteps) -> list[dict[str, Any]]:
    """The latest cycle's synthetic images above the same refined."""
    shown = [
        _embedded_image(steps, result.preview, f"Cycle {number}")
        for number, result in steps.by_cycle("refine", refiner_pb2.RefineResult)
        if result.HasField("preview")
    ]
    return [each for each in shown[-1:] if each]


def contours(steps: FinishedSteps, cycle: int, per_image: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Best, median and worst image by PQ; without scores, the first few."""
    result = steps.result(f"cycle-{cycle}.segment", hovernet_pb2.SegmentResult)
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
    shown = [_embedded_image(steps, drawn[name].overlay, caption) for name, caption in captions.items()]
    return [each for each in shown if each]


def patches(steps: FinishedSteps) -> list[dict[str, Any]]:
    """The latest annotated windows with the outlines of their accepted masks."""
    results = list(steps.by_cycle(r"annotate-\d+", annotator_pb2.AnnotatePatchResult))
    shown = []
    for number, result in results[-_MAX_PATCHES:]:
        caption = f"After cycle {number}: {result.nuclei} nuclei, {result.clicks} clicks, {result.seconds:.0f} s"
        if image := _embedded_image(steps, result.accepted.image, caption):
            shown.append({**image, **_outline(steps, result.accepted.instances)})
    return shown


def _outline(steps: FinishedSteps, blob: common_pb2.Blob) -> dict[str, Any]:
    try:
        found = read_instance_map(steps.blobs.get(blob), "accepted mask")
    except NucleateError:
        return {}
    return {"width": found.width, "height": found.height, "outline": outline_path(found)}


def _embedded_image(steps: FinishedSteps, blob: common_pb2.Blob, caption: str) -> dict[str, Any] | None:
    """Embed a stored image; a report without one is better than none."""
    try:
        data = steps.blobs.get(blob)
    except NucleateError:
        return None
    return {"caption": caption, "media_type": blob.media_type, "base64": base64.b64encode(data).decode()}

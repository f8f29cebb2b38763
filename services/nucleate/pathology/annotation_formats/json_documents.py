"""JSON annotations: QuPath's GeoJSON and HoVer-Net's dictionary of nuclei.

GeoJSON coordinates are pixel-corner coordinates of the full-resolution image. Cells and detections are nuclei (a cell's
nucleus where it has one); annotations are regions beside them, and nuclei where there is nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from nucleate.errors import InvalidMask
from nucleate.pathology.annotation_formats.polygons import Outline, Outlines, ring

_NUCLEI = {"cell", "detection", "tile"}


def parse(data: bytes, name: str) -> Outlines:
    """Outlines in the order of the file.

    Raises:
        InvalidMask: no JSON of either kind, or coordinates that are none.
    """
    try:
        document = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as cause:
        raise InvalidMask(f"{name} is no UTF-8 JSON ({type(cause).__name__}): export it again") from None
    if isinstance(document, dict) and isinstance(document.get("nuc"), dict):
        return _hover_net(document["nuc"], name)
    features = _features(document)
    if features is None:
        raise InvalidMask(f"{name} is neither GeoJSON features nor HoVer-Net's nuclei: export objects as GeoJSON")
    return _geojson(features, name)


def _features(document: Any) -> list[Any] | None:
    if isinstance(document, list):
        return document
    if isinstance(document, dict) and document.get("type") == "Feature":
        return [document]
    features = document.get("features") if isinstance(document, dict) else None
    return features if isinstance(features, list) else None


def _geojson(features: list[Any], name: str) -> Outlines:
    kinds_of = [_properties(feature).get("objectType") for feature in features]
    only_nuclei = any(kind in _NUCLEI for kind in kinds_of)
    outlines, regions, others = [], 0, 0
    for number, (feature, kind) in enumerate(zip(features, kinds_of, strict=True), start=1):
        if only_nuclei and kind not in _NUCLEI:
            regions += 1
            continue
        rings = tuple(_rings(feature, f"{name}: feature {number}"))
        if rings:
            outlines.append(Outline(rings, _class_of(_properties(feature))))
        else:
            others += 1
    if features and not outlines:
        raise InvalidMask(f"{name} has {len(features)} features and no polygon among them: export nuclei as polygons")
    notes = []
    if regions:
        notes.append(f"{regions} annotations beside the nuclei were left out")
    if others:
        notes.append(f"{others} features are no polygons and were left out")
    return Outlines(tuple(outlines), tuple(notes))


def _properties(feature: Any) -> dict[str, Any]:
    properties = feature.get("properties") if isinstance(feature, dict) else None
    return properties if isinstance(properties, dict) else {}


def _class_of(properties: dict[str, Any]) -> str | None:
    found = properties.get("classification")
    if isinstance(found, dict):
        names = found.get("names")
        found = found.get("name") or (": ".join(map(str, names)) if isinstance(names, list) else None)
    return found[:80] if isinstance(found, str) and found else None


def _rings(feature: Any, where: str) -> Iterator[Any]:
    if not isinstance(feature, dict):
        raise InvalidMask(f"{where} is no object: export objects as GeoJSON")
    geometry = feature.get("nucleusGeometry") or feature.get("geometry")
    if not isinstance(geometry, dict) or geometry.get("type") not in {"Polygon", "MultiPolygon"}:
        return
    parts = geometry.get("coordinates")
    polygons = [parts] if geometry["type"] == "Polygon" else parts
    for polygon in polygons if isinstance(polygons, list) else [polygons]:
        if not isinstance(polygon, list):
            raise InvalidMask(f"{where} has coordinates that are no rings of vertices: export the annotation again")
        for each in polygon:
            vertices = ring(each, where)
            if vertices is not None:
                yield vertices


def _hover_net(nuclei: dict[str, Any], name: str) -> Outlines:
    outlines, points = [], 0
    for key, nucleus in nuclei.items():
        where = f"{name}: nucleus {key[:20]}"
        if not isinstance(nucleus, dict) or "contour" not in nucleus:
            raise InvalidMask(f"{where} has no contour: write HoVer-Net's JSON with contours")
        vertices = ring(nucleus["contour"], where)
        kind = nucleus.get("type")
        if vertices is None:
            points += 1
        else:
            outlines.append(Outline((vertices,), None if kind is None else str(kind)[:80], through_centres=True))
    return Outlines(tuple(outlines), (f"{points} contours of fewer than three points were left out",) if points else ())

"""GeoJSON as QuPath exports it.

Coordinates are pixel-corner coordinates of the full-resolution image. Cells and detections are nuclei (a cell's nucleus where
it has one); annotations are regions beside them, and nuclei where there is nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from nucleate.errors import InvalidMask
from nucleate.pathology.annotation_formats.polygons import Polygon, Polygons, omission_notes, parse_ring

_NUCLEI = {"cell", "detection", "tile"}


def features_of(document: Any) -> list[Any] | None:
    """The features of a parsed document: a collection, a list of features, or one; None where it is no GeoJSON."""
    if isinstance(document, list):
        return document
    if isinstance(document, dict) and document.get("type") == "Feature":
        return [document]
    features = document.get("features") if isinstance(document, dict) else None
    return features if isinstance(features, list) else None


def parse(features: list[Any], name: str) -> Polygons:
    """Polygons in the order of the features.

    Raises:
        InvalidMask: no polygon among the features, or coordinates that are none.
    """
    object_types = [_properties(feature).get("objectType") for feature in features]
    only_nuclei = any(each in _NUCLEI for each in object_types)
    polygons, regions, others = [], 0, 0
    for number, (feature, object_type) in enumerate(zip(features, object_types, strict=True), start=1):
        if only_nuclei and object_type not in _NUCLEI:
            regions += 1
            continue
        rings = tuple(_rings(feature, f"{name}: feature {number}"))
        if rings:
            polygons.append(Polygon(rings, _class_of(_properties(feature))))
        else:
            others += 1
    if features and not polygons:
        raise InvalidMask(f"{name} has {len(features)} features and no polygon among them: export nuclei as polygons")
    notes = omission_notes((regions, "annotations beside the nuclei"), (others, "features are no polygons and"))
    return Polygons(tuple(polygons), notes)


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
            vertices = parse_ring(each, where)
            if vertices is not None:
                yield vertices

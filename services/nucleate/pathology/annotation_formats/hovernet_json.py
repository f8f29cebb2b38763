"""HoVer-Net's JSON: a dictionary of nuclei, each with its contour through the centres of border pixels and its type."""

from __future__ import annotations

from typing import Any

from nucleate.errors import InvalidMask
from nucleate.pathology.annotation_formats.polygons import Polygon, Polygons, omission_notes, parse_ring


def parse(nuclei: dict[str, Any], name: str) -> Polygons:
    """Polygons in the order of the dictionary.

    Raises:
        InvalidMask: a nucleus without contour, or coordinates that are none.
    """
    polygons, points = [], 0
    for key, nucleus in nuclei.items():
        where = f"{name}: nucleus {key[:20]}"
        if not isinstance(nucleus, dict) or "contour" not in nucleus:
            raise InvalidMask(f"{where} has no contour: write HoVer-Net's JSON with contours")
        vertices = parse_ring(nucleus["contour"], where)
        type_name = nucleus.get("type")
        if vertices is None:
            points += 1
        else:
            polygons.append(Polygon((vertices,), None if type_name is None else str(type_name)[:80], through_centres=True))
    return Polygons(tuple(polygons), omission_notes((points, "contours of fewer than three points")))

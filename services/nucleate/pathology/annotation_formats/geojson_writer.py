"""Nuclei as GeoJSON that QuPath opens and `geojson_reader` reads back to the same pixels."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.measure import find_contours

from nucleate.pathology.instances.nucleus_records import NucleusRecord

#: Of classes, in their order, red, green and blue; further ones start again.
_COLOURS = ((200, 40, 40), (40, 90, 200), (40, 150, 60), (200, 130, 20), (130, 50, 170), (20, 150, 160))


@dataclass(frozen=True, eq=False)
class NucleusPolygon:
    """A nucleus as a polygon: `ring` K2 float64 of (x, y), pixel corners at whole numbers, open; type 0..C; probability."""

    ring: NDArray[np.float64]
    type: int
    probability: float


def nucleus_polygons(instances_HW: NDArray[np.int32], records: Iterable[NucleusRecord]) -> Iterator[NucleusPolygon]:
    """The nuclei of an instance map as polygons, in px of the map."""
    for nucleus in records:
        top, left, bottom, right = nucleus.box
        ring = mask_polygon(instances_HW[top:bottom, left:right] == nucleus.label, left, top)
        yield NucleusPolygon(ring, nucleus.type, nucleus.probability)


def mask_polygon(mask_HW: NDArray[np.bool_], left: int = 0, top: int = 0) -> NDArray[np.float64]:
    """Outer contour of a mask's largest part, K2 of (x, y) with pixel corners at whole numbers.

    It passes half-way between the centres of inner and outer pixels (marching squares), so that just the pixels of the mask
    have their centres inside.
    """
    contours = find_contours(np.pad(mask_HW, 1).astype(np.float32), 0.5)  # type: ignore[no-untyped-call]
    longest = max(contours, key=len)[:-1, ::-1]
    step = np.roll(longest, -1, axis=0) - longest
    before = np.roll(step, 1, axis=0)
    corners = before[:, 0] * step[:, 1] != before[:, 1] * step[:, 0]
    return np.asarray(longest[corners] + (left - 0.5, top - 0.5), np.float64)


def feature_collection(nuclei: Iterable[NucleusPolygon], classes: Sequence[str] = ()) -> bytes:
    """A FeatureCollection of detections, coordinates to 1/100 px."""
    features = [_feature(nucleus, classes) for nucleus in nuclei]
    return json.dumps({"type": "FeatureCollection", "features": features}, separators=(",", ":")).encode()


def _feature(nucleus: NucleusPolygon, classes: Sequence[str]) -> dict[str, Any]:
    points = np.round(nucleus.ring, 2).tolist()
    properties: dict[str, Any] = {
        "objectType": "detection",
        "measurements": {"Nucleus: Probability": round(nucleus.probability, 4)},
    }
    if 0 < nucleus.type <= len(classes):
        colour = list(_COLOURS[(nucleus.type - 1) % len(_COLOURS)])
        properties["classification"] = {"name": classes[nucleus.type - 1], "color": colour}
    geometry = {"type": "Polygon", "coordinates": [[*points, points[0]]]}
    return {"type": "Feature", "geometry": geometry, "properties": properties}

"""Nuclei as polygons, and their rasterisation.

Coordinates are pixel-corner coordinates: the image is [0, width] x [0, height] and pixel (row, column) has its centre at
(column + .5, row + .5). A pixel belongs to a polygon if its centre lies inside by the even-odd rule, left and upper edges
included, right and lower ones not, so that polygons which share an edge share no pixel and leave none out. Where polygons
overlap, the first one has the pixel. A scan line per row of pixels, with the crossings of all edges found at once: the cost
grows with a polygon's height, not with its vertices times its pixels, so that no file can stall the service.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from nucleate.errors import InvalidMask, TooLarge
from nucleate.pathology.annotation_formats.labels import UNCLASSIFIED, Labels

#: No slide is larger (px); keeps all arithmetic exact.
_MAX_COORDINATE = 1e7
_MAX_CROSSINGS = 20_000_000
#: Polygons may cover the image this many times over.
_MAX_COVER = 100


@dataclass(frozen=True, eq=False)
class Polygon:
    """One nucleus: closed rings, each K2 float64 of (x, y); `type` is the name of its class.

    With `through_centres` the single ring joins centres of border pixels, (0, 0) being the first pixel's, and those pixels
    belong to it, as in the contours of cv2 and of HoVer-Net's JSON.
    """

    rings: tuple[NDArray[np.float64], ...]
    type: str | None = None
    through_centres: bool = False

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Least x and y, largest x and y."""
        points = np.concatenate(self.rings)
        return (*points.min(axis=0).tolist(), *points.max(axis=0).tolist())


@dataclass(frozen=True, eq=False)
class Polygons:
    """An annotation by polygons, whose image's size it does not tell."""

    polygons: tuple[Polygon, ...]
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the smallest image that holds all polygons."""
        corners = [polygon.extent[2:] for polygon in self.polygons] or [(1.0, 1.0)]
        width, height = (max(1, int(np.ceil(max(axis))) + 1) for axis in zip(*corners, strict=True))
        return height, width


def omission_notes(*counted: tuple[int, str]) -> tuple[str, ...]:
    """For people: what of an annotation was left out, a note for each count that is not 0."""
    return tuple(f"{count} {what} were left out" for count, what in counted if count)


def parse_ring(points: object, where: str) -> NDArray[np.float64] | None:
    """Vertices as K2 float64; None for fewer than three, which enclose nothing.

    Raises:
        InvalidMask: they are no pairs of numbers, not finite, or further out than any slide reaches.
    """
    try:
        array = np.asarray(points, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise InvalidMask(f"{where} has vertices that are no pairs of numbers: export the annotation again") from None
    if array.size == 0 or (array.ndim == 2 and len(array) < 3):
        return None
    if array.ndim != 2 or array.shape[1] < 2:
        raise InvalidMask(f"{where} has vertices that are no pairs of numbers: export the annotation again")
    if not np.isfinite(array).all() or np.abs(array).max() > _MAX_COORDINATE:
        raise InvalidMask(f"{where} has a vertex that is NaN or over {_MAX_COORDINATE:.0e} px away: repair the annotation")
    return np.ascontiguousarray(array[:, :2])


def rasterise(annotation: Polygons, shape: tuple[int, int], name: str) -> Labels:
    """Instance map of `shape` (height, width): polygon k has label k + 1.

    Raises:
        InvalidMask: most polygons lie outside: they are of another image or scale.
        TooLarge: they are too complex to draw.
    """
    _check_extent(annotation, shape, name)
    instances = np.zeros(shape, np.int32)
    covered, crossings, occluded = 0, 0, 0
    for label, polygon in enumerate(annotation.polygons, start=1):
        crossings += _rows_crossed(polygon, shape[0])
        if crossings > _MAX_CROSSINGS or covered > _MAX_COVER * instances.size:
            raise TooLarge(f"{name} is too complex at outline {label}: simplify outlines or cut the image into regions")
        box, mask = _fill_contour(polygon, shape) if polygon.through_centres else _scan_convert(polygon, shape)
        covered += mask.size
        window = instances[box]
        free = mask & (window == 0)
        occluded += not free.any()
        window[free] = label
    notes = (*annotation.notes, f"{occluded} outlines cover no pixel of their own") if occluded else annotation.notes
    kinds = {label: polygon.type or UNCLASSIFIED for label, polygon in enumerate(annotation.polygons, start=1)}
    return Labels(instances, kinds if any(polygon.type for polygon in annotation.polygons) else None, notes)


def _check_extent(annotation: Polygons, shape: tuple[int, int], name: str) -> None:
    extents = np.array([polygon.extent for polygon in annotation.polygons]).reshape(-1, 4)
    height, width = shape
    outside = (extents[:, 0] >= width) | (extents[:, 1] >= height) | (extents[:, 2] <= 0) | (extents[:, 3] <= 0)
    if outside.sum() > len(extents) / 2:
        raise InvalidMask(
            f"{name}: {outside.sum()} of {len(extents)} outlines lie outside of the {width} x {height} px image: they are of "
            "another image or scale"
        )


def _rows_crossed(polygon: Polygon, height: int) -> int:
    """Upper limit of the crossings of an polygon's edges with the image's rows."""
    return sum(
        int((np.abs(np.diff(np.clip(each[:, 1], 0, height), append=np.clip(each[:1, 1], 0, height))) + 1).sum())
        for each in polygon.rings
    )


def _scan_convert(polygon: Polygon, shape: tuple[int, int]) -> tuple[tuple[slice, slice], NDArray[np.bool_]]:
    """Box in the image and the pixels in it whose centres are inside."""
    start = np.concatenate(polygon.rings)
    end = np.concatenate([np.roll(each, -1, axis=0) for each in polygon.rings])
    # From the upper to the lower end, whichever way round: neighbours then find the same crossings of their common edge.
    upward = end[:, 1] < start[:, 1]
    (x0, y0), (x1, y1) = (np.where(upward[:, None], *ends).T for ends in ((end, start), (start, end)))
    first, last = (np.clip(np.ceil(y - 0.5), 0, shape[0]).astype(np.intp) for y in (y0, y1))
    count = last - first
    edge = np.repeat(np.arange(count.size), count)
    if edge.size == 0:
        return np.s_[0:0, 0:0], np.zeros((0, 0), np.bool_)
    row = np.arange(edge.size) - np.repeat(np.cumsum(count) - count, count) + first[edge]
    x = x0[edge] + (row + 0.5 - y0[edge]) * ((x1 - x0)[edge] / (y1 - y0)[edge])
    column = np.clip(np.ceil(x - 0.5), 0, shape[1]).astype(np.intp)
    top, bottom, left, right = int(row.min()), int(row.max()) + 1, int(column.min()), int(column.max())
    parity = np.zeros((bottom - top, right - left + 1), np.uint8)
    np.bitwise_xor.at(parity, (row - top, column - left), np.uint8(1))
    inside = np.bitwise_xor.accumulate(parity, axis=1)[:, :-1]
    return np.s_[top:bottom, left:right], inside.astype(np.bool_)


def _fill_contour(polygon: Polygon, shape: tuple[int, int]) -> tuple[tuple[slice, slice], NDArray[np.bool_]]:
    """The same for a contour through the centres of border pixels."""
    left, top, right, bottom = (round(edge) for edge in polygon.extent)
    box = np.s_[max(top, 0) : min(bottom + 1, shape[0]), max(left, 0) : min(right + 1, shape[1])]
    mask = np.zeros((max(0, box[0].stop - box[0].start), max(0, box[1].stop - box[1].start)), np.uint8)
    if mask.size == 0:
        return np.s_[0:0, 0:0], np.zeros((0, 0), np.bool_)
    points = np.rint(polygon.rings[0]).astype(np.int32) - (box[1].start, box[0].start)
    cv2.fillPoly(mask, [points.astype(np.int32)], 1)
    return box, mask.astype(np.bool_)

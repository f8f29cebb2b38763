"""Nucleus records (HoVer-Net's instance dictionary): box, centroid, contour, probability and type of every nucleus.

As of hover_net's `process`, without a mask of the whole image per nucleus: sums over labels for centroids, probabilities and
types, and each contour from its nucleus's own box.
"""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
from numpy.typing import NDArray

from nucleate import errors
from nucleate.pathology.instances.instance_map import bounding_boxes, majority_class

#: Class of a nucleus without one: hover_net's background class, and every nucleus of an untyped model.
UNTYPED = 0


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class NucleusRecord:
    """One nucleus; pixels, x to the right, y down, whole numbers are pixel centres.

    label: in the instance map, 1...
    box: top, left, bottom, right; bottom and right are exclusive.
    centroid: x, y; mean of its pixels.
    contour: K2 int32 of x, y; outer border of its largest part, through the centres of its border pixels.
    probability: mean nuclear probability of its pixels, 0..1.
    kind: class 1..C that most of its pixels have, `UNTYPED` where none has any.
    kind_probability: share of its pixels that have the class, 0..1; 0 where untyped.
    """

    label: int
    box: tuple[int, int, int, int]
    centroid: tuple[float, float]
    contour: NDArray[np.int32]
    probability: float
    type: int = UNTYPED
    type_probability: float = 0.0


def nucleus_records(
    instances_HW: NDArray[np.int32], nuclear_HW: NDArray[np.floating], types_HW: NDArray[np.integer] | None = None
) -> list[NucleusRecord]:
    """Every nucleus of an instance map (any labels > 0), by rising label.

    Args:
        instances_HW: 0 background.
        nuclear_HW: probability of nucleus in 0..1.
        types_HW: most probable class of every pixel, 0 for none or background; without it nuclei are untyped.

    Raises:
        errors.SizeMismatch: the maps differ in height or width.
    """
    for other in (nuclear_HW, types_HW):
        if other is not None and other.shape != instances_HW.shape:
            raise errors.SizeMismatch(f"instance map {instances_HW.shape} and map {other.shape} are not of one image")
    ys, xs = np.nonzero(instances_HW)
    label_P = instances_HW[ys, xs]
    pixels_L = np.maximum(np.bincount(label_P), 1)

    def mean_of(values_P: NDArray[np.floating] | NDArray[np.integer]) -> list[float]:
        return [float(mean) for mean in np.bincount(label_P, weights=values_P) / pixels_L]

    x, y, probability = mean_of(xs), mean_of(ys), mean_of(nuclear_HW[ys, xs])
    kinds, shares = (None, None) if types_HW is None else majority_class(label_P, types_HW[ys, xs], pixels_L.size)
    found = []
    for label, box in enumerate(bounding_boxes(instances_HW), start=1):
        if box is None:
            continue
        typed = () if kinds is None or shares is None else (int(kinds[label]), float(shares[label]))
        rows, columns = box
        edges = rows.start, columns.start, rows.stop, columns.stop
        contour = _contour(instances_HW[box] == label, columns.start, rows.start)
        found.append(NucleusRecord(label, edges, (x[label], y[label]), contour, probability[label], *typed))
    return found


def _contour(mask_HW: NDArray[np.bool_], left: int, top: int) -> NDArray[np.int32]:
    """Outer border of the largest part of a cropped mask, moved to its place in the image."""
    contours, _ = cv2.findContours(mask_HW.view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE, offset=(left, top))
    largest = contours[0] if len(contours) == 1 else max(contours, key=cv2.contourArea)
    return np.asarray(largest[:, 0], np.int32)

"""Geometry of every nucleus of an instance map, from moments and convex hulls."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from nucleate.pathology.instances.instance_map import bounding_boxes
from nucleate.pathology.instances.typical_area import typical_area


@dataclass(frozen=True, slots=True, eq=False)
class ShapeDescriptors:
    """One entry per label 1..N of a contiguous instance map, in label order.

    areas (px²), centroids_yx (N, 2; px), axis_ratios (minor / major of the ellipse of equal second moments, (0, 1]),
    orientations_rad (of the major axis against the x axis, y pointing down, (-pi/2, pi/2]), solidities (area / convex hull
    area, (0, 1]), touches_border.
    """

    areas: NDArray[np.float64]
    centroids_yx: NDArray[np.float64]
    axis_ratios: NDArray[np.float64]
    orientations_rad: NDArray[np.float64]
    solidities: NDArray[np.float64]
    touches_border: NDArray[np.bool_]


def measure_shapes(instances: NDArray[np.int32]) -> ShapeDescriptors:
    """Shapes of a contiguous map (see `instances.relabel`)."""
    count = int(instances.max())
    ys, xs = np.nonzero(instances)
    label = instances[ys, xs] - 1
    area = np.bincount(label, minlength=count).astype(np.float64)

    def mean_of(values: NDArray[np.floating]) -> NDArray[np.float64]:
        return np.asarray(np.bincount(label, weights=values, minlength=count) / area, dtype=np.float64)

    y, x = mean_of(ys.astype(np.float64)), mean_of(xs.astype(np.float64))
    dy, dx = ys - y[label], xs - x[label]
    # A pixel is a unit square, which adds 1/12 to the variance of its centre: a single pixel has axis ratio 1, not 0/0.
    yy, xx, xy = mean_of(dy * dy) + 1 / 12, mean_of(dx * dx) + 1 / 12, mean_of(dx * dy)
    spread = np.hypot(xx - yy, 2 * xy)
    ratio = np.sqrt(np.maximum(xx + yy - spread, 0) / (xx + yy + spread))
    edge = np.concatenate([instances[0], instances[-1], instances[:, 0], instances[:, -1]])
    touches = np.bincount(edge, minlength=count + 1)[1:] > 0
    angle = 0.5 * np.arctan2(2 * xy, xx - yy)
    return ShapeDescriptors(area, np.stack([y, x], axis=1), ratio, angle, _solidities(instances, area), touches)


def _solidities(instances: NDArray[np.int32], area: NDArray[np.float64]) -> NDArray[np.float64]:
    solidities = np.ones(area.size)
    for index, box in enumerate(bounding_boxes(instances)):
        if box is not None:
            solidities[index] = min(area[index] / convex_hull_area(instances[box] == index + 1), 1.0)
    return solidities


def implausible_labels(
    instances: NDArray[np.int32], min_solidity: float, relative_areas: tuple[float, float]
) -> NDArray[np.bool_]:
    """By label of a contiguous map, entry 0 for background: True for what is no plausible single nucleus.

    Such are ragged or merged ones, of less than `min_solidity`, and those beyond `relative_areas`, in areas of the image's
    typical nucleus.
    """
    if not instances.any():
        return np.zeros(1, np.bool_)
    shapes = measure_shapes(instances)
    relative = shapes.areas / typical_area(instances)
    low, high = relative_areas
    return np.concatenate([[False], (shapes.solidities < min_solidity) | (relative < low) | (relative > high)])


def convex_hull_area(mask: NDArray[np.bool_]) -> float:
    """Area (px²) of the convex hull of a mask's pixels, each taken as a unit square."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    hull = cv2.convexHull(np.concatenate(contours))
    # The hull runs through pixel centres: a half-pixel wider on every side adds half its extent in x and y, and one corner px.
    return float(cv2.contourArea(hull)) + float(np.ptp(hull[:, 0, 0])) + float(np.ptp(hull[:, 0, 1])) + 1.0

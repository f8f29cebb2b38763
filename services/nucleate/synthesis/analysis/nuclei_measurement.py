"""What the nuclei of an un-annotated image look like: measured on a segmentation without labels."""

from __future__ import annotations

from dataclasses import dataclass, fields

import cv2
import numpy as np
from numpy.typing import NDArray

from nucleate.pathology.instances.instance_map import bounding_boxes
from nucleate.pathology.instances.morphometry import ShapeDescriptors, measure_shapes
from nucleate.pathology.instances.typical_area import area_weighted_median
from nucleate.synthesis.nuclear_contours import radial_power

_RING = 4.0
_MIN_SOLIDITY = 0.9
#: Haematoxylin contrast in units of the median of the image, for nuclei smaller than `_SMALL` and for the others.
_MIN_CONTRAST_SMALL = 1.3
_MIN_CONTRAST = 0.5
#: Sizes in units of the area that half of the nuclear area lies in smaller nuclei than.
_SMALL = 0.6
_MIN_SIZE = 0.2
_MAX_SIZE = 5.0
#: Contours of a thresholded image are more irregular than those that people draw: power of the latter over that of the
#: former, median of six images of the Kumar pool. The report's polygons have a quarter of what people draw.
_TRUE_POWER = 0.6


@dataclass(frozen=True)
class NucleusMeasurements:
    """Measurements of instances 1..N as float32 arrays of length N.

    `centres` (N, 2) as (x, y) px; `areas` px^2; `axis_ratios` minor / major in (0, 1]; `angles` of the major axis in rad;
    `contrast`: haematoxylin density inside minus that of a ring around it (OD).
    """

    centres: NDArray[np.float32]
    areas: NDArray[np.float32]
    axis_ratios: NDArray[np.float32]
    angles: NDArray[np.float32]
    contrast: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.areas)

    def where(self, chosen: NDArray[np.bool_]) -> NucleusMeasurements:
        """Those with chosen[k]."""
        return NucleusMeasurements(*(getattr(self, field.name)[chosen] for field in fields(self)))


def measure_nuclei(
    instances: NDArray[np.int32], density_HW: NDArray[np.float32]
) -> tuple[NucleusMeasurements, NDArray[np.bool_]]:
    """Measure the instances of an HW map with labels 1..N, and say which of them are well formed (N bool).

    `density_HW`: haematoxylin, float32 OD.
    """
    shapes = measure_shapes(instances)
    contrast = _contrast(instances, density_HW, shapes.areas.size)
    nuclei = NucleusMeasurements(
        shapes.centroids_yx[:, ::-1].astype(np.float32),
        shapes.areas.astype(np.float32),
        shapes.axis_ratios.astype(np.float32),
        shapes.orientations_rad.astype(np.float32),
        contrast.astype(np.float32),
    )
    return nuclei, _well_formed(shapes, contrast)


def _contrast(instances: NDArray[np.int32], density_HW: NDArray[np.float32], count: int) -> NDArray[np.float64]:
    """Mean density of every instance minus that of the background within `_RING` px of it."""
    ring = nearest_label(instances, _RING)
    ring[instances > 0] = 0
    inside = np.bincount(instances.ravel(), density_HW.ravel(), count + 1) / np.maximum(
        np.bincount(instances.ravel(), minlength=count + 1), 1
    )
    around = np.bincount(ring.ravel(), minlength=count + 1)
    outside = np.bincount(ring.ravel(), density_HW.ravel(), count + 1) / np.maximum(around, 1)
    return np.where(around > 0, inside - outside, 0.0)[1:]


def contour_power(instances: NDArray[np.int32], nuclei: NucleusMeasurements, labels: NDArray[np.intp]) -> NDArray[np.float64]:
    """How irregular contours are: mean over nuclei of `nuclear_contours.radial_power`, less what thresholding adds.

    `labels` are those of `nuclei` in the map.
    """
    places = bounding_boxes(instances)
    powers = []
    for centre, ratio, angle, label in zip(nuclei.centres, nuclei.axis_ratios, nuclei.angles, labels, strict=True):
        box = places[label - 1]
        if box is None:
            continue
        mask = (instances[box] == label).astype(np.uint8)
        contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        corner = np.array([box[1].start, box[0].start])
        powers.append(radial_power(max(contours, key=len)[:, 0] + corner - centre, float(ratio), float(angle)))
    return np.asarray(_TRUE_POWER * np.mean(powers, axis=0), np.float64)


def nearest_label(instances: NDArray[np.int32], distance: float) -> NDArray[np.int32]:
    """The map grown by `distance` px into the background; of two nuclei the nearer one gets the pixel."""
    if not instances.any():
        return instances.copy()
    away, index = cv2.distanceTransformWithLabels(
        (instances == 0).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    label_of_index = np.zeros(int(index.max()) + 1, dtype=np.int32)
    inside = instances > 0
    label_of_index[index[inside]] = instances[inside]
    return np.where(away <= distance, label_of_index[index], 0).astype(np.int32)


def _well_formed(shapes: ShapeDescriptors, contrast: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whole, convex, of ordinary size, and clearly darker than its surroundings: neither fragments nor clumps nor stroma.

    Small ones must be dark: a lymphocyte is, a fragment of the rim of a pale nucleus is not.
    """
    if shapes.areas.size == 0:
        return np.zeros(0, dtype=np.bool_)
    size = shapes.areas / area_weighted_median(shapes.areas)
    strength = contrast / max(float(np.median(contrast)), 1e-6)
    dark = strength > np.where(size < _SMALL, _MIN_CONTRAST_SMALL, _MIN_CONTRAST)
    chosen: NDArray[np.bool_] = (
        (shapes.solidities > _MIN_SOLIDITY) & dark & ~shapes.touches_border & (size > _MIN_SIZE) & (size < _MAX_SIZE)
    )
    return chosen

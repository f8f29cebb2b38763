"""Label-free nuclear statistics of an un-annotated H&E image: what the synthesis imitates.

Everything is measured on the image itself and on its classical segmentation, or on a given instance map, so no annotation is
needed. Nuclei cut by the image border count towards the density and distances, not towards shapes and colours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from nucleate.errors import InvalidInput, SizeMismatch
from nucleate.pathology.classical import segment
from nucleate.pathology.edges import edge_width
from nucleate.pathology.instances import relabel
from nucleate.pathology.shape import Shapes, measure
from nucleate.pathology.stain import FROM_OD, rgb_to_od, tissue_mask

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class NuclearStatistics:
    """Arrays have one entry per whole nucleus (n), unless said; lengths in px, densities as natural-log OD.

    areas_px (n), axis_ratios (n; minor / major), solidities (n), orientations_rad (n; major axis against x, y down),
    nucleus_od (n, 3; mean RGB OD), nucleus_stains (n, 2; mean haematoxylin and eosin), nearest_px (m; distance of each of
    all m nuclei's centroids to the next; empty below two), background_od (3) and background_stains (2) of stained tissue
    clear of nuclei and their blurred edges, nuclei_per_mpx, tissue_fraction, edge_width_px (10-90 % rise across a
    nucleus's edge; 0 without nuclei).
    """

    areas_px: Floats
    axis_ratios: Floats
    solidities: Floats
    orientations_rad: Floats
    nucleus_od: Floats
    nucleus_stains: Floats
    nearest_px: Floats
    background_od: Floats
    background_stains: Floats
    nuclei_per_mpx: float
    tissue_fraction: float
    edge_width_px: float

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: lists and floats by field name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in values.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> NuclearStatistics:
        """Inverse of `to_dict`; raises `InvalidInput` that names a missing or unusable field."""
        return cls(**{field.name: _parsed(values, field.name) for field in fields(cls)})


_WIDTHS = {"nucleus_od": 3, "nucleus_stains": 2}
#: Width (px) of the window around a background pixel that has to be free of nuclei, whose blurred edges reach further out.
_SKIRT = 7
_SCALARS = ("nuclei_per_mpx", "tissue_fraction", "edge_width_px")


def _parsed(values: Mapping[str, Any], name: str) -> Any:
    if name not in values:
        raise InvalidInput(f"nuclear statistics lack {name}: take the output of to_dict")
    try:
        array = np.asarray(values[name], dtype=np.float64)
        array = array.reshape(() if name in _SCALARS else (-1, _WIDTHS[name]) if name in _WIDTHS else -1)
    except (TypeError, ValueError):
        raise InvalidInput(
            f"nuclear statistics: {name} is not what to_dict writes: give numbers of the documented shape"
        ) from None
    if not np.isfinite(array).all():
        raise InvalidInput(f"nuclear statistics: {name} has values that are not finite")
    return float(array) if name in _SCALARS else array


def nuclear_statistics(rgb: NDArray[np.uint8], instances: NDArray[np.integer] | None = None) -> NuclearStatistics:
    """Measure an HWC uint8 RGB image, with its classical segmentation unless an HW instance map is given.

    Raises `SizeMismatch` or `InvalidMask` for a map that does not fit. Blank images give empty arrays, never NaN.
    """
    labels = segment(rgb) if instances is None else relabel(instances)
    if labels.shape != rgb.shape[:2]:
        raise SizeMismatch(f"the instance map is {labels.shape} and the image {rgb.shape[:2]}: measure a map on its own image")
    od = rgb_to_od(rgb)
    tissue = tissue_mask(rgb)
    shapes = measure(labels)
    whole = ~shapes.touches_border
    nucleus_od = _mean_per_nucleus(od, labels, shapes.areas)[whole]
    skirt = cv2.dilate((labels > 0).astype(np.uint8), np.ones((_SKIRT, _SKIRT), np.uint8)) > 0
    background_od = _mean_od(od, tissue & ~skirt)
    return NuclearStatistics(
        areas_px=shapes.areas[whole],
        axis_ratios=shapes.axis_ratios[whole],
        solidities=shapes.solidities[whole],
        orientations_rad=shapes.orientations_rad[whole],
        nucleus_od=nucleus_od,
        nucleus_stains=nucleus_od @ FROM_OD[:, :2],
        nearest_px=_nearest(shapes),
        background_od=background_od,
        background_stains=background_od @ FROM_OD[:, :2],
        nuclei_per_mpx=shapes.areas.size / labels.size * 1e6,
        tissue_fraction=float(tissue.mean()),
        edge_width_px=edge_width(rgb, labels),
    )


def _mean_per_nucleus(od: NDArray[np.float32], labels: NDArray[np.int32], area: Floats) -> Floats:
    inside = labels > 0
    label, values = labels[inside] - 1, od[inside]
    sums = [np.bincount(label, weights=values[:, channel], minlength=area.size) for channel in range(3)]
    return np.stack(sums, axis=1) / area[:, None]


def _mean_od(od: NDArray[np.float32], mask: NDArray[np.bool_]) -> Floats:
    if not mask.any():
        return np.zeros(3)
    return np.array(cv2.mean(od, mask.astype(np.uint8))[:3])


def _nearest(shapes: Shapes) -> Floats:
    if shapes.areas.size < 2:
        return np.zeros(0)
    distances, _ = cKDTree(shapes.centroids_yx).query(shapes.centroids_yx, k=2)
    return np.asarray(distances[:, 1], dtype=np.float64)

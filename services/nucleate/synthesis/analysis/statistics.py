"""The label-free statistics of an image: what its synthetic images are drawn from, as JSON-able values.

Everything is measured on segmentations without labels (`reference.analyse_reference`); no annotation is read. How far
the figures are from those of annotated nuclei is measured in `tests/bench/bench_statistics.py`.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from nucleate.synthesis.analysis.reference import Reference

#: Changes with what is measured, or how: statistics kept under another number are not used.
VERSION = 4
#: Side of the cells of the density map, px.
CELL = 64


def reference_statistics(reference: Reference) -> dict[str, Any]:
    """Statistics of the whole image and, in lists of equal length, of every well-formed nucleus."""
    nuclei = reference.nuclei
    return {
        "version": VERSION,
        "name": reference.name,
        "sha256": reference.sha256,
        "height": reference.centre_intensity.shape[0],
        "width": reference.centre_intensity.shape[1],
        "nuclei_expected": round(float(reference.centre_intensity.sum()), 1),
        "edge_sigma_px": round(reference.edge_sigma, 3),
        "touching_fraction": round(reference.touching, 4),
        "clark_evans": round(clark_evans(nuclei.centres, reference.tissue_px), 3),
        "haematoxylin_od": {name: round(value, 4) for name, value in reference.haematoxylin_od.items()},
        "stain_vectors": None if reference.stains is None else np.round(reference.stains.vectors, 4).tolist(),
        "outline_irregularity": round(float(np.sqrt(reference.contour_power.sum())), 4),
        "removed_fraction": round(reference.removed, 4),
        "residual_specks": reference.residual,
        "density": {"cell_px": CELL, "nuclei_per_cell": density_map(reference.centre_intensity)},
        "nuclei": {
            "x_px": _rounded(nuclei.centres[:, 0], 1),
            "y_px": _rounded(nuclei.centres[:, 1], 1),
            "area_px": _rounded(nuclei.areas, 1),
            "axis_ratio": _rounded(nuclei.axis_ratios, 3),
            "angle_rad": _rounded(nuclei.angles, 3),
            "contrast_od": _rounded(nuclei.contrast, 3),
        },
    }


def clark_evans(centres_N2: NDArray[np.float32], area_px: float) -> float:
    """Mean distance to the nearest neighbour over what points without any order would have (Clark & Evans, Ecology 1954).

    1: no order; below: clustered; above, up to 2.15 of a hexagonal grid: kept apart. No correction for borders.

    Args:
        centres_N2: two points at least.
        area_px: where they may lie, px^2.
    """
    nearest_N = cKDTree(centres_N2).query(centres_N2, k=2)[0][:, 1]
    return float(nearest_N.mean() * 2.0 * np.sqrt(len(centres_N2) / area_px))


def density_map(intensity_HW: NDArray[np.float32]) -> list[list[float]]:
    """Expected nuclei in every cell of `CELL` px, rows of columns; cells at the right and lower border may be smaller."""
    height, width = (-(-side // CELL) * CELL for side in intensity_HW.shape)
    padded = cv2.copyMakeBorder(
        intensity_HW, 0, height - intensity_HW.shape[0], 0, width - intensity_HW.shape[1], cv2.BORDER_CONSTANT, value=0.0
    )
    cells = padded.reshape(height // CELL, CELL, width // CELL, CELL).sum(axis=(1, 3))
    return [[round(float(value), 2) for value in row] for row in cells]


def _rounded(values: NDArray[np.float32], digits: int) -> list[float]:
    return [round(float(v), digits) for v in values]

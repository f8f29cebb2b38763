"""The background image B: the reference without its nuclei.

The super-segmentation is removed and filled, either by Telea's fast marching method ([23], the report's) or, by default,
with smooth colour and copied real detail, which is faster and leaves no facets. What still looks nuclear afterwards is
removed in the same way, and counted if it stays.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from nucleate.pathology.instances.mask_morphology import dilate, remove_small_components
from nucleate.pathology.stains.optical_density import od_to_rgb, rgb_to_od
from nucleate.synthesis.analysis.inpainting import inpaint_detail
from nucleate.synthesis.analysis.otsu_regions import HaematoxylinThresholds, haematoxylin_thresholds
from nucleate.synthesis.profiles import Fill

_TELEA_RADIUS = 3
_MIN_RESIDUE = 30
_ROUNDS = 2
#: Filling needs something to fill from: beyond this fraction the margins of the removed region are given back.
_MAX_REMOVED = 0.9


@dataclass(frozen=True)
class Background:
    """The nucleus-free image (HWC uint8), what was removed from it (HW bool) and how many nuclear specks are left."""

    rgb: NDArray[np.uint8]
    removed: NDArray[np.bool_]
    residual: int


def remove_nuclei(
    rgb: NDArray[np.uint8], removed: NDArray[np.bool_], stain: HaematoxylinThresholds, fill: Fill, rng: np.random.Generator
) -> Background:
    """Fill `removed` in the HWC uint8 image; then look for what was missed, by the thresholds of the image itself."""
    filled = inpaint(rgb, removed, fill, rng)
    for _ in range(_ROUNDS):
        residue = _residual_nuclei(filled, stain)
        if not residue.any():
            break
        again = dilate(residue, 3)
        removed = removed | again
        if removed.mean() > _MAX_REMOVED:
            break
        filled = inpaint(filled, again, fill, rng)
    count, _ = cv2.connectedComponents(_residual_nuclei(filled, stain).astype(np.uint8))
    return Background(filled, removed, count - 1)


def inpaint(rgb: NDArray[np.uint8], missing: NDArray[np.bool_], fill: Fill, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Replace the `missing` pixels of an HWC uint8 image."""
    if fill == "telea":
        return np.asarray(cv2.inpaint(rgb, missing.astype(np.uint8), _TELEA_RADIUS, cv2.INPAINT_TELEA), dtype=np.uint8)
    return od_to_rgb(inpaint_detail(rgb_to_od(rgb), ~missing, rng))


def _residual_nuclei(rgb: NDArray[np.uint8], stain: HaematoxylinThresholds) -> NDArray[np.bool_]:
    """Connected regions of nuclear size and density that the image still shows."""
    return remove_small_components(haematoxylin_thresholds(rgb).density > stain.otsu, _MIN_RESIDUE, connectivity=8)

"""Otsu super- and sub-segmentation: where the nuclei surely end, and where they surely are.

Both start from Otsu's threshold [13] on haematoxylin density and from a segmentation of the same image. The
super-segmentation contains both in full and a margin around them; it is what the background must not contain. The
sub-segmentation lies inside well-formed nuclei only; it is what nuclear material is taken from.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.filters import threshold_otsu

from nucleate.pathology.instances.instance_map import inner_boundary
from nucleate.pathology.instances.mask_morphology import dilate, remove_small_components
from nucleate.pathology.stains.haematoxylin import smoothed_haematoxylin
from nucleate.pathology.stains.tissue import tissue_mask

_SMOOTH_SIGMA = 1.5
#: The super-segmentation threshold lies this far from Otsu's towards the mean density of what Otsu calls background.
_SUPER_STEP = 0.35
_MARGIN = 2
_MIN_SPECK = 20
_MAX_HOLE = 250


@dataclass(frozen=True)
class HaematoxylinThresholds:
    """Smoothed haematoxylin density (HW float32, OD) with Otsu's threshold and that of the super-segmentation."""

    density: NDArray[np.float32]
    otsu: float
    low: float


def haematoxylin_thresholds(rgb: NDArray[np.uint8]) -> HaematoxylinThresholds:
    """Density and thresholds of an HWC uint8 image that has stained tissue."""
    density = smoothed_haematoxylin(rgb, _SMOOTH_SIGMA)
    tissue = density[tissue_mask(rgb)]
    otsu = float(threshold_otsu(tissue)) if tissue.size > 1 and np.ptp(tissue) > 0 else float("inf")  # type: ignore[no-untyped-call]
    background = tissue[tissue < otsu]
    low = otsu - _SUPER_STEP * (otsu - float(background.mean())) if background.size else otsu
    return HaematoxylinThresholds(density, otsu, low)


def super_segmentation(stain: HaematoxylinThresholds, instances: NDArray[np.int32]) -> NDArray[np.bool_]:
    """HW bool: everything that may be nuclear. Contains every instance and every pixel above Otsu's threshold, dilated."""
    specks = remove_small_components(stain.density > stain.low, _MIN_SPECK, connectivity=8)
    mask = specks | (stain.density > stain.otsu) | (instances > 0)
    return fill_small_holes(dilate(mask, _MARGIN), _MAX_HOLE)


def sub_segmentation(instances: NDArray[np.int32], keep: NDArray[np.bool_], depth: int) -> NDArray[np.bool_]:
    """HW bool: pixels at least `depth` pixels inside an instance k with keep[k]; keep[0] is ignored."""
    chosen = keep.copy()
    chosen[0] = False
    core = (chosen[instances] & ~inner_boundary(instances)).astype(np.uint8)
    distance = cv2.distanceTransform(np.pad(core, 1, mode="edge"), cv2.DIST_L2, 3)[1:-1, 1:-1]
    inside: NDArray[np.bool_] = distance > depth - 1
    return inside


def fill_small_holes(mask: NDArray[np.bool_], max_area: int) -> NDArray[np.bool_]:
    """Close the gaps of at most `max_area` pixels: the pale centres of vesicular nuclei."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats((~mask).astype(np.uint8), connectivity=4)
    small = stats[:count, cv2.CC_STAT_AREA] <= max_area
    small[0] = False
    filled: NDArray[np.bool_] = mask | small[labels]
    return filled

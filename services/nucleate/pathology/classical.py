"""Training-free nuclei segmentation: haematoxylin threshold and distance-transform watershed.

The baseline that every learned stage has to beat: density of haematoxylin, smoothed; a threshold halfway between Otsu's
global one and the local mean; opening, hole filling; one seed per peak of the distance transform; watershed on it.
Lengths are for 40x (0.25 um per pixel) and were set from the size of nuclei, not fitted to any annotation.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.segmentation import watershed

from nucleate.pathology.instances import remove_small
from nucleate.pathology.stain import separate, tissue_mask

_SMOOTH_SIGMA = 1.5
_LOCAL_SIGMA = 40.0
_OPEN_DIAMETER = 7
_SEED_RADIUS = 5
_MIN_AREA = 30
#: Haematoxylin density (OD) below which nothing is a nucleus, whatever Otsu says: keeps faint and empty images empty.
_MIN_DENSITY = 0.1


def segment(rgb: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Instance map (HW int32, labels 1..N) of an HWC uint8 RGB image; all 0 where there is nothing stained."""
    density, threshold = _density_and_threshold(rgb)
    return _split(_clean(density > threshold))


def _density_and_threshold(rgb: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Smoothed haematoxylin density and the threshold at every pixel, both HW float32 in OD."""
    haematoxylin, _ = separate(rgb)
    density = _gaussian(haematoxylin, _SMOOTH_SIGMA)
    tissue = density[tissue_mask(rgb)]
    if tissue.size < 2 or float(np.ptp(tissue)) == 0.0:
        return density, np.full_like(density, np.inf)
    threshold = 0.5 * np.float32(_otsu(density)) + 0.5 * _gaussian(density, _LOCAL_SIGMA)
    return density, np.maximum(threshold, _MIN_DENSITY).astype(np.float32)


def _otsu(values: NDArray[np.float32]) -> float:
    """Threshold that maximises the variance between two classes, on 256 bins (Otsu 1979)."""
    counts, edges = np.histogram(values, bins=256)
    centres = (edges[:-1] + edges[1:]) / 2
    below, above = np.cumsum(counts)[:-1], np.cumsum(counts[::-1])[::-1][1:]
    mean_below = np.cumsum(counts * centres)[:-1] / np.maximum(below, 1)
    mean_above = np.cumsum((counts * centres)[::-1])[::-1][1:] / np.maximum(above, 1)
    between = below * above * (mean_below - mean_above) ** 2
    return float(centres[int(np.argmax(between))])


def _gaussian(plane: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    return np.asarray(cv2.GaussianBlur(plane, (0, 0), sigma, borderType=cv2.BORDER_REFLECT), dtype=np.float32)


def _clean(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Open with a disk, then fill holes."""
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (_OPEN_DIAMETER, _OPEN_DIAMETER))
    opened = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, disk)
    return ndimage.binary_fill_holes(opened)  # type: ignore[no-any-return]


def _split(mask: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Cut touching nuclei along the valleys of the distance transform."""
    if not mask.any():
        return np.zeros(mask.shape, dtype=np.int32)
    distance = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)
    distance = cv2.GaussianBlur(distance, (0, 0), 1.0)
    window = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * _SEED_RADIUS + 1, 2 * _SEED_RADIUS + 1))
    peaks = (distance >= cv2.dilate(distance, window)) & mask
    _, seeds = cv2.connectedComponents(peaks.astype(np.uint8), connectivity=8, ltype=cv2.CV_32S)
    basins = watershed(-distance, seeds, mask=mask)  # type: ignore[no-untyped-call]
    return remove_small(basins, _MIN_AREA)

"""From NP and HV maps to instances: gradient markers and watershed (Graham et al. 2019, section 3.2; hover_net's post_proc).

The same steps as hover_net's ``__proc_np_hv`` in float32, with cv2 components and the watershed run once per connected region's
bounding box instead of over the whole image.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.segmentation import watershed

from nucleate import errors
from nucleate.pathology.classical import typical_area
from nucleate.pathology.instances import remove_small


@dataclasses.dataclass(frozen=True)
class PostProcessing:
    """Thresholds on probability and marker energy; Sobel size (odd), smallest nucleus, smallest marker and opening in px.

    Instances below `fragment` of the image's typical nuclear area are dropped, and holes of up to `hole` px are filled, as a
    pale nucleus with a dark rim leaves one; 0 leaves both as they are, as hover_net does.
    """

    nuclear: float = 0.5
    marker: float = 0.4
    sobel: int = 21
    smallest: int = 10
    smallest_marker: int = 10
    opening: int = 5
    fragment: float = 0.15
    hole: int = 0


def instances(
    nuclear_HW: NDArray[np.float32], hv_2HW: NDArray[np.float32], how: PostProcessing | None = None
) -> NDArray[np.int32]:
    """Instance map HW int32, 0 background, 1..N.

    Args:
        nuclear_HW: probability of nucleus in 0..1, float32.
        hv_2HW: horizontal and vertical distance maps in about -1..1, float32.
        how: thresholds; hover_net's by default.

    Raises:
        errors.InvalidInput: a map is not finite, or shapes differ. Maps without any probable nucleus give an empty map.
    """
    how = how or PostProcessing()
    if hv_2HW.shape != (2, *nuclear_HW.shape):
        raise errors.SizeMismatch(f"HV maps {hv_2HW.shape} do not fit the probability map {nuclear_HW.shape}")
    if not (np.isfinite(nuclear_HW).all() and np.isfinite(hv_2HW).all()):
        raise errors.InvalidInput("network output is not finite: the model is damaged, train it again")
    nuclear = _filled(_without_small(nuclear_HW >= how.nuclear, how.smallest), how.hole)
    if not nuclear.any():
        return np.zeros(nuclear_HW.shape, np.int32)
    edges = _edge_strength(hv_2HW.astype(np.float32, copy=False), how.sobel)
    inner = np.maximum(edges - ~nuclear, 0.0)
    energy = -np.asarray(cv2.GaussianBlur((1.0 - inner) * nuclear, (3, 3), 0), np.float32)
    markers = _markers(nuclear, inner, how)
    found = _watershed(energy, markers, nuclear)
    return remove_small(found, max(how.smallest, int(how.fragment * typical_area(found))))


def _without_small(mask_HW: NDArray[np.bool_], smallest: int) -> NDArray[np.bool_]:
    """`mask_HW` without 4-connected components of fewer than `smallest` pixels."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask_HW.astype(np.uint8), connectivity=4)
    keep = stats[:, cv2.CC_STAT_AREA] >= smallest
    keep[0] = False
    return np.asarray(keep[labels])


def _filled(mask_HW: NDArray[np.bool_], largest: int) -> NDArray[np.bool_]:
    """`mask_HW` with the holes of up to `largest` pixels that do not touch the border."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats((~mask_HW).astype(np.uint8), connectivity=4)
    fill = stats[:, cv2.CC_STAT_AREA] <= largest
    fill[np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])] = False
    fill[0] = False
    return np.asarray(mask_HW | fill[labels], np.bool_)


def _edge_strength(hv_2HW: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """Largest of the two normalised, inverted Sobel responses, HW in 0..1: high at the seams between nuclei."""
    horizontal, vertical = (_unit_range(plane) for plane in hv_2HW)
    across = 1.0 - _unit_range(cv2.Sobel(horizontal, cv2.CV_32F, 1, 0, ksize=size, scale=_sobel_scale(size)))
    down = 1.0 - _unit_range(cv2.Sobel(vertical, cv2.CV_32F, 0, 1, ksize=size, scale=_sobel_scale(size)))
    return np.asarray(np.maximum(across, down))


def _sobel_scale(size: int) -> float:
    """Keeps float32 sums of a large Sobel kernel near 1; the min-max normalisation afterwards cancels it."""
    return 2.0 ** (3 - 2 * size)


def _unit_range(plane_HW: NDArray[Any]) -> NDArray[np.float32]:
    low, high = float(plane_HW.min()), float(plane_HW.max())
    if high <= low:
        raise errors.InvalidInput("HV map is constant although nuclei were found: the model is damaged, train it again")
    return np.asarray((plane_HW - low) / (high - low), np.float32)


def _markers(nuclear_HW: NDArray[np.bool_], inner_HW: NDArray[np.float32], how: PostProcessing) -> NDArray[np.int32]:
    marker = nuclear_HW & (inner_HW < how.marker)
    filled = ndimage.binary_fill_holes(marker).astype(np.uint8)
    if how.opening:
        filled = cv2.morphologyEx(filled, cv2.MORPH_OPEN, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (how.opening,) * 2))
    labels = cv2.connectedComponents(_without_small(filled > 0, how.smallest_marker).astype(np.uint8), connectivity=4)[1]
    return np.asarray(labels, np.int32)


def _watershed(
    energy_HW: NDArray[np.float32], markers_HW: NDArray[np.int32], nuclear_HW: NDArray[np.bool_]
) -> NDArray[np.int32]:
    """Floods each connected nuclear region from its markers; a region with one marker is that nucleus without flooding."""
    regions = cv2.connectedComponents(nuclear_HW.astype(np.uint8), connectivity=4)[1]
    result = np.zeros(nuclear_HW.shape, np.int32)
    for region, box in enumerate(ndimage.find_objects(regions), start=1):
        mask = regions[box] == region
        seeds = np.where(mask, markers_HW[box], 0)
        present = np.unique(seeds[seeds > 0])
        if present.size == 1:
            result[box][mask] = present[0]
        elif present.size > 1:
            result[box][mask] = watershed(energy_HW[box], seeds, mask=mask)[mask]  # type: ignore[no-untyped-call]
    return result

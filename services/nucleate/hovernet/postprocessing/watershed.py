"""Marker-controlled watershed of many small regions in one pass over a sheet that holds nothing else.

Flooding a nucleus needs its own pixels only, yet skimage's watershed copies and pads the whole image. Regions with one marker
are that marker's without a watershed; the others are laid side by side on a small sheet, a pixel apart. Regions do not touch,
so the labels are the same; only pixels of exactly one energy between two markers may go to the other of them, as the order of
skimage's heap depends on all that it holds.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.segmentation import watershed

_MIN_WIDTH = 512


def marker_watershed(
    energy_HW: NDArray[np.float32], markers_HW: NDArray[np.int32], mask_HW: NDArray[np.bool_]
) -> tuple[NDArray[np.intp], NDArray[np.int32]]:
    """Labels of the watershed on `energy` from `markers` within `mask`, 4-connected.

    Returns:
        Flat indices of the P pixels of the mask in raster order and their labels; 0 where no marker reaches.
    """
    regions_HW = np.asarray(cv2.connectedComponents(mask_HW.view(np.uint8), connectivity=4)[1], np.int32)
    pixels_P = np.flatnonzero(mask_HW)
    region_P, marker_P = regions_HW.ravel()[pixels_P], markers_HW.ravel()[pixels_P]
    first_R, count_R = _markers_by_region(region_P, marker_P)
    labels_P = np.where(count_R[region_P] == 1, first_R[region_P], 0).astype(np.int32)
    ambiguous = np.flatnonzero(count_R[region_P] > 1)
    if ambiguous.size:
        labels_P[ambiguous] = _watershed_on_sheet(
            np.divmod(pixels_P[ambiguous], mask_HW.shape[1]),
            region_P[ambiguous],
            marker_P[ambiguous],
            energy_HW.ravel()[pixels_P[ambiguous]],
        )
    return pixels_P, labels_P


def _markers_by_region(region_P: NDArray[np.int32], marker_P: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.intp]]:
    """One marker of every region 0..R-1 (0 where it has none) and how many it has."""
    keys_P = region_P.astype(np.int64) << 32 | marker_P
    starts = np.flatnonzero(np.diff(keys_P, prepend=-1))  # runs along rows leave little to sort
    pairs = np.unique(keys_P[starts])
    region, marker = (pairs >> 32).astype(np.intp), (pairs & 0xFFFFFFFF).astype(np.int32)
    region, marker = region[marker > 0], marker[marker > 0]
    count_R = np.bincount(region, minlength=int(region_P.max(initial=0)) + 1)
    first_R = np.zeros(count_R.size, np.int32)
    first_R[region] = marker
    return first_R, count_R


def _watershed_on_sheet(
    position: tuple[NDArray[np.intp], NDArray[np.intp]],
    region_P: NDArray[np.int32],
    marker_P: NDArray[np.int32],
    energy_P: NDArray[np.float32],
) -> NDArray[np.int32]:
    """Labels of pixels at `position` (rows, columns) of regions that have several markers."""
    distinct_R, index_P = np.unique(region_P, return_inverse=True)
    count = distinct_R.size
    shifts, sizes = [], []
    for axis_P in position:
        low_R, high_R = np.full(count, np.iinfo(np.intp).max), np.zeros(count, np.intp)
        np.minimum.at(low_R, index_P, axis_P)
        np.maximum.at(high_R, index_P, axis_P)
        shifts.append(low_R)
        sizes.append(high_R - low_R + 1)
    top_R, left_R, shape = _shelf_packing(*sizes)
    y_P = position[0] + (top_R - shifts[0])[index_P]
    x_P = position[1] + (left_R - shifts[1])[index_P]
    energy, markers, mask = np.zeros(shape, np.float32), np.zeros(shape, np.int32), np.zeros(shape, np.bool_)
    energy[y_P, x_P], markers[y_P, x_P], mask[y_P, x_P] = energy_P, marker_P, True
    return np.asarray(watershed(energy, markers, mask=mask)[y_P, x_P], np.int32)  # type: ignore[no-untyped-call]


def _shelf_packing(
    heights_R: NDArray[np.intp], widths_R: NDArray[np.intp]
) -> tuple[NDArray[np.intp], NDArray[np.intp], tuple[int, int]]:
    """Top and left of R boxes on shelves, highest first, a pixel apart, and the sheet's shape."""
    side = max(_MIN_WIDTH, int(widths_R.max()), int(np.sqrt(((heights_R + 1) * (widths_R + 1)).sum())))
    top_R, left_R = np.zeros_like(heights_R), np.zeros_like(widths_R)
    top = left = shelf = 0
    for region in np.argsort(-heights_R, kind="stable").tolist():
        height, width = int(heights_R[region]), int(widths_R[region])
        if left + width > side:
            top, left, shelf = top + shelf + 1, 0, 0
        top_R[region], left_R[region] = top, left
        left, shelf = left + width + 1, max(shelf, height)
    return top_R, left_R, (top + shelf, side)

"""Morphology of bool masks: dilation by a disk, removal of small components."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray


def dilate(mask_HW: NDArray[np.bool_], radius: int) -> NDArray[np.bool_]:
    """A mask grown by a disk of `radius` px, HW bool."""
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    return cv2.dilate(mask_HW.astype(np.uint8), disk).astype(np.bool_)


def remove_small_components(mask_HW: NDArray[np.bool_], min_area: int, connectivity: int = 4) -> NDArray[np.bool_]:
    """A mask without its 4- or 8-connected components of fewer than `min_area` px, HW bool."""
    labels = cv2.connectedComponents(mask_HW.view(np.uint8), connectivity=connectivity)[1]
    small = np.bincount(labels[mask_HW]) < min_area
    small[:1] = False
    return np.asarray(mask_HW & ~small[labels]) if small.any() else mask_HW

"""The Euclidean distance transform, to the last bit the same wherever the region lies in memory."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray


def squared_distance_transform(region_HW: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Square of the Euclidean distance in px to the nearest pixel outside the region, HW; beyond the array is outside.

    Squares of distances between pixels are whole numbers. cv2's own last bit depends on where an array lies in memory, and
    would decide between pixels of equal depth: where a click goes, or a seed.
    """
    inside = cv2.distanceTransform(np.pad(region_HW, 1).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(np.rint(np.square(inside)), np.float32)[1:-1, 1:-1]

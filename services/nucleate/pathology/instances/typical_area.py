"""How large the typical nucleus of an image is, robust against fragments of the segmentation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nucleate.pathology.instances.instance_map import areas


def typical_area(instances: NDArray[np.integer]) -> float:
    """Area (px²) of the nucleus that the median nuclear pixel lies in: robust against many small fragments; 0 when empty."""
    return area_weighted_median(areas(instances)[1:])


def area_weighted_median(sizes: NDArray[np.integer] | NDArray[np.floating]) -> float:
    """The same of nuclear areas (px²), in any order, zeros allowed."""
    sizes = np.sort(sizes)
    if sizes.sum() == 0:
        return 0.0
    return float(sizes[np.searchsorted(np.cumsum(sizes), sizes.sum() / 2)])

"""Intersection over union of two masks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def intersection_over_union(a_HW: NDArray[np.bool_], b_HW: NDArray[np.bool_]) -> float:
    """|a & b| / |a | b|, and 1 when both are empty."""
    union = int(np.count_nonzero(a_HW | b_HW))
    return int(np.count_nonzero(a_HW & b_HW)) / union if union else 1.0

"""Where a simulated user clicks next: the rule of the f-BRS evaluation (Sofiiuk et al. 2020, section 4) and its code."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
from numpy.typing import NDArray

from nucleate.pathology.instances.distance_transform import squared_distance_transform

Mask = NDArray[np.bool_]


def next_click(missed_HW: Mask, wrong_HW: Mask, clicked: Iterable[tuple[int, int]] = ()) -> tuple[int, int, bool] | None:
    """x, y and sign of the next click: the deepest pixel of the larger error region; None where both are empty.

    A region is as large as its deepest pixel is far from its edge (Euclidean, the frame counts as edge). Clicked pixels are
    left out, the first of equally deep pixels in row-major order is taken, of equally large regions the wrongly covered
    one.

    Args:
        missed_HW: pixels that a positive click could put right.
        wrong_HW: pixels that a negative click could put right.
        clicked: (x, y) of earlier clicks; those outside the arrays are left out.
    """
    points = tuple(clicked)
    missed, wrong = _deepest(missed_HW, points), _deepest(wrong_HW, points)
    depth, x, y = max(wrong, missed, key=lambda found: found[0])
    return (x, y, missed[0] > wrong[0]) if depth > 0 else None


def _deepest(region_HW: Mask, clicked: tuple[tuple[int, int], ...]) -> tuple[float, int, int]:
    """Squared distance to the region's edge, x and y of its deepest pixel that has not been clicked; 0 where there is none."""
    left, top, width, height = cv2.boundingRect(region_HW.view(np.uint8))
    if not width:
        return 0.0, 0, 0
    depth_HW = squared_distance_transform(region_HW[top : top + height, left : left + width])
    for x, y in clicked:
        if left <= x < left + width and top <= y < top + height:
            depth_HW[y - top, x - left] = 0
    y, x = divmod(int(depth_HW.argmax()), width)
    return float(depth_HW[y, x]), x + left, y + top

"""What network and outline agree on: the one errs in where exactly the edge runs, the other in what belongs to the nucleus."""

from __future__ import annotations

import cv2
import numpy as np

from nucleate.pathology.contours.minimal_cost_contour import Float

OUTLINE_SHARE = 0.7
SIGMA = 1.5  # px by which the outline's edge is in doubt


def agreed(probability_HW: Float, outline_HW: Float | None, reduced: float = 1.0) -> Float:
    """Nucleus probability, 0..1, from the network's own and the closed outline where there is one.

    `outline_HW`: part of each pixel inside the outline, 0..1.
    `reduced`: how many pixels of the network one pixel of both is wide.
    """
    if outline_HW is None:
        return probability_HW
    soft_HW = np.asarray(cv2.GaussianBlur(outline_HW, (0, 0), SIGMA / reduced), np.float32)
    return np.asarray((1 - OUTLINE_SHARE) * probability_HW + OUTLINE_SHARE * soft_HW, np.float32)

"""Weighted mean of network and contour: the one errs in where the edge runs, the other in what belongs to the nucleus."""

from __future__ import annotations

import cv2
import numpy as np

from nucleate.pathology.contours.minimal_cost_contour import Float

CONTOUR_WEIGHT = 0.7
SIGMA = 1.5  # px of blur of the contour's edge


def fused_probability(probability_HW: Float, contour_HW: Float | None, reduced: float = 1.0) -> Float:
    """Nucleus probability, 0..1, from the network's own and the closed contour where there is one.

    `contour_HW`: part of each pixel inside the contour, 0..1.
    `reduced`: how many pixels of the network one pixel of both is wide.
    """
    if contour_HW is None:
        return probability_HW
    soft_HW = np.asarray(cv2.GaussianBlur(contour_HW, (0, 0), SIGMA / reduced), np.float32)
    return np.asarray((1 - CONTOUR_WEIGHT) * probability_HW + CONTOUR_WEIGHT * soft_HW, np.float32)

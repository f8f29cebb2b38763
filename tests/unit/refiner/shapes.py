"""Shapes that tests paint."""

from __future__ import annotations

import cv2
import numpy as np


def ellipse(shape, centre, axes, angle=0):
    return cv2.ellipse(np.zeros(shape, np.uint8), centre, axes, angle, 0, 360, 1, -1) > 0

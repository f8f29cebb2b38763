"""The haematoxylin density plane, smoothed, which nuclei are found and measured on."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from nucleate.pathology.stains.optical_density import separate_stains


def smoothed_haematoxylin(rgb: NDArray[np.uint8], sigma: float, border: int = cv2.BORDER_DEFAULT) -> NDArray[np.float32]:
    """Haematoxylin density (OD) of an HWC uint8 RGB image under a Gaussian of `sigma` px, HW float32; `border` is cv2's."""
    haematoxylin_HW, _ = separate_stains(rgb)
    return np.asarray(cv2.GaussianBlur(haematoxylin_HW, (0, 0), sigma, borderType=border), np.float32)


def reflected_gaussian(plane_HW: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """A plane under a Gaussian of `sigma` px, reflected at its borders, border pixels included; HW float32."""
    return np.asarray(cv2.GaussianBlur(plane_HW, (0, 0), sigma, borderType=cv2.BORDER_REFLECT), np.float32)

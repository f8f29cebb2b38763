"""Optical density and stain separation of H&E images (Beer-Lambert law).

A pixel that transmits the fraction I/255 of the light has optical density OD = -ln(I/255); densities of several stains
add up. Stain vectors are those of Ruifrok and Johnston, "Quantification of histochemical staining by color
deconvolution", Anal. Quant. Cytol. Histol. 23 (2001).
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

#: Unit OD vectors (rows: haematoxylin, eosin, residual; columns: R, G, B) of Ruifrok and Johnston.
HED = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]], dtype=np.float64)
HED /= np.linalg.norm(HED, axis=1, keepdims=True)
#: OD row vector of a pixel @ FROM_OD = concentrations of (haematoxylin, eosin, residual).
HED_FROM_OD = np.linalg.inv(HED)

_OD_OF_LEVEL = (-np.log(np.maximum(np.arange(256), 1) / 255.0)).astype(np.float32)


def rgb_to_od(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Optical density per channel, same shape, float32 in [0, 5.55]; level 0 counts as level 1."""
    return np.asarray(cv2.LUT(np.ascontiguousarray(rgb).reshape(-1, 1), _OD_OF_LEVEL), dtype=np.float32).reshape(rgb.shape)


def od_to_rgb(od: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Inverse of `rgb_to_od`: uint8 levels, rounded; densities below 0 become white."""
    levels = 255.0 * np.exp(-np.maximum(od, 0).astype(np.float32))
    return np.asarray(np.rint(levels), dtype=np.uint8)


def stain_scaling_matrix(strength_S: NDArray[np.floating]) -> NDArray[np.float64]:
    """OD row vector of a pixel @ this 3 x 3 matrix = its OD with (haematoxylin, eosin, residual) scaled by `strength_S`."""
    return np.asarray((HED_FROM_OD * strength_S) @ HED, np.float64)


def separate_stains(rgb: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Haematoxylin and eosin density planes, HW float32 >= 0; white gives zeros, never NaN."""
    planes_HWC = cv2.transform(rgb_to_od(rgb), HED_FROM_OD[:, :2].T.astype(np.float32))
    np.maximum(planes_HWC, 0, out=planes_HWC)
    return np.ascontiguousarray(planes_HWC[..., 0]), np.ascontiguousarray(planes_HWC[..., 1])

"""Stain augmentation of whole images: random strength and offset of each stain in optical density, which fades on glass.

Tellez et al., "Quantifying the effects of data augmentation and stain color normalization", Med. Image Anal. 58 (2019):
c_s -> alpha_s c_s + beta_s for the haematoxylin, eosin and residual concentrations c_s of a pixel. As od = c M is linear, the
whole augmentation is one affine map of the OD vector, od' = od A + b, whose A depends on the alphas only.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from nucleate.pathology.stains.optical_density import HED, rgb_to_od, stain_scaling_matrix

#: Mean OD from which the offset counts in full.
FADE_OD = 0.15


def jitter_stain(
    rgb: NDArray[np.uint8],
    rng: np.random.Generator,
    alpha: tuple[float, float] = (0.7, 1.4),
    beta: float = 0.05,
) -> NDArray[np.uint8]:
    """Stain augmentation of an HWC uint8 RGB image; same shape and dtype, glass stays glass.

    `alpha` is the range of each stain's strength (log-uniform), `beta` the largest offset of its density (OD). The offset fades
    out towards white, because light that passes through no tissue has no stain to vary.
    """
    low, high = np.log(alpha[0]), np.log(alpha[1])
    strength_S = np.exp(rng.uniform(low, high, 3))
    offset_S = rng.uniform(-beta, beta, 3)
    return perturb_stains(rgb, strength_S, offset_S)


def perturb_stains(
    rgb: NDArray[np.uint8], strength_S: NDArray[np.floating], offset_S: NDArray[np.floating]
) -> NDArray[np.uint8]:
    """Scale and shift the (haematoxylin, eosin, residual) densities of an HWC uint8 RGB image; see `jitter_stain`."""
    od_HWC = rgb_to_od(rgb)
    scaled_HWC = cv2.transform(od_HWC, stain_scaling_matrix(strength_S).T.astype(np.float32))
    mean_HWC = cv2.transform(od_HWC, np.full((3, 3), 1 / 3, dtype=np.float32))
    weight_HWC = np.minimum(mean_HWC / np.float32(FADE_OD), 1)
    perturbed_HWC = scaled_HWC + weight_HWC * (offset_S @ HED).astype(np.float32)
    return np.asarray(cv2.convertScaleAbs(cv2.exp(-np.maximum(perturbed_HWC, 0)), alpha=255.0), dtype=np.uint8)

"""What the network sees of an image: stain-standardised colours, the haematoxylin margin, and how large its nuclei are.

Nuclei of one image are much alike, those of the next may have half the diameter. A crop of one nucleus does not tell a small
nucleus from a piece of a large one, so the fifth plane holds one level everywhere: the typical radius of the whole image.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from nucleate.pathology import appearance

PLANES = appearance.PLANES + 1
SMALLEST, OCTAVES = 4.0, 3.0  # px: radii from 4 to 32 px take the levels 0 to 255, evenly by octave
UNKNOWN = 12.0  # px at 40x, where nothing is dark
_SIGMAS = np.geomspace(3.0, 15.5, 10)
_COARSE = 5.0  # px of sigma from which half the resolution is enough
_LEAST_BLOB = 0.05
_CONTRAST = 64.0  # grey levels of the margin plane per unit


def network_input(image_HW3: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The planes of an RGB image, H x W x 5 uint8: `appearance.planes` and the level of the typical radius."""
    planes_HW4 = appearance.planes(image_HW3)
    level = level_of(typical_radius(margin(planes_HW4)))
    return np.dstack([planes_HW4, np.full(planes_HW4.shape[:2], level, np.uint8)])


def margin(planes_HWP: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The margin plane in units of the image's contrast, 0 at the threshold, high inside nuclei."""
    return (planes_HWP[..., 3].astype(np.float32) - np.float32(127.5)) / np.float32(_CONTRAST)


def level_of(radius: float) -> int:
    """Level of a radius in px."""
    return round(float(np.clip(255 * np.log2(radius / SMALLEST) / OCTAVES, 0, 255)))


def radius_of(level: float) -> float:
    """Radius in px of a level."""
    return float(SMALLEST * np.exp2(OCTAVES * level / 255))


def rescaled(level: float, scale: float) -> float:
    """Level after the image was enlarged by `scale`."""
    return float(np.clip(level + 255 * np.log2(scale) / OCTAVES, 0, 255))


def typical_radius(margin_HW: NDArray[np.float32]) -> float:
    """Radius in px of the disk that dark blobs answer to most: scale selection by the normalised Laplacian (Lindeberg 1998)."""
    bounded_HW = np.clip(margin_HW, -1, 1)
    half_HW = np.asarray(cv2.resize(bounded_HW, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.float32)
    answers = np.array([_blob_answer(half_HW, s / 2) if s > _COARSE else _blob_answer(bounded_HW, s) for s in _SIGMAS])
    best = int(answers.argmax())
    if answers[best] <= 0:
        return UNKNOWN
    position = float(best)
    if 0 < best < len(answers) - 1:
        before, here, after = answers[best - 1 : best + 2]
        position += 0.5 * (before - after) / (before - 2 * here + after)
    return float(np.sqrt(2) * np.exp(np.interp(position, np.arange(len(_SIGMAS)), np.log(_SIGMAS))))


def _blob_answer(plane_HW: NDArray[np.float32], sigma: float) -> float:
    """Mean of the clear maxima of the scale-normalised Laplacian."""
    smooth_HW = cv2.GaussianBlur(plane_HW, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
    blob_HW = -np.asarray(cv2.Laplacian(smooth_HW, cv2.CV_32F, ksize=1)) * np.float32(sigma**2)
    side = 2 * round(1.2 * sigma) + 1
    highest_HW = cv2.dilate(blob_HW, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)))
    peaks = blob_HW[(blob_HW >= highest_HW) & (blob_HW > _LEAST_BLOB)]
    return float(peaks.mean()) if len(peaks) else 0.0

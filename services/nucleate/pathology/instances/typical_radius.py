"""How large the nuclei of an image are, without segmenting it: scale selection on its dark blobs."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from nucleate.pathology.stains import standardised_input
from nucleate.pathology.stains.haematoxylin import reflected_gaussian

DEFAULT_RADIUS = 12.0  # px at 40x, where nothing is dark
_SIGMAS = np.geomspace(3.0, 15.5, 10)
_COARSE = 5.0  # px of sigma from which half the resolution is enough
_MIN_BLOB = 0.05
# The response to a disk falls to .93 of its best at 1.23 of the best sigma; nuclei differ in size, which widens that.
_PLATEAU, _RADIUS_OVER_PLATEAU = 0.93, 0.75


def typical_radius(margin_HW: NDArray[np.float32]) -> float:
    """Radius in px of the larger dark blobs: scale selection by the normalised Laplacian (Lindeberg 1998).

    Where chromatin is coarse, its grains respond as the nuclei do, and the best scale may be theirs. So the last scale counts
    whose response comes close to the best one.
    """
    bounded_HW = np.clip(margin_HW, -1, 1)
    half_HW = np.asarray(cv2.resize(bounded_HW, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.float32)
    responses = np.array([_blob_response(half_HW, s / 2) if s > _COARSE else _blob_response(bounded_HW, s) for s in _SIGMAS])
    least = _PLATEAU * float(responses.max())
    if least <= 0:
        return DEFAULT_RADIUS
    last = int(np.flatnonzero(responses >= least)[-1])
    position = float(last)
    if last < len(responses) - 1:
        position += (responses[last] - least) / (responses[last] - responses[last + 1])
    sigma = float(np.exp(np.interp(position, np.arange(len(_SIGMAS)), np.log(_SIGMAS))))
    return _RADIUS_OVER_PLATEAU * float(np.sqrt(2)) * sigma


def _blob_response(plane_HW: NDArray[np.float32], sigma: float) -> float:
    """Mean of the clear maxima of the scale-normalised Laplacian."""
    smooth_HW = reflected_gaussian(plane_HW, sigma)
    blob_HW = -np.asarray(cv2.Laplacian(smooth_HW, cv2.CV_32F, ksize=1)) * np.float32(sigma**2)
    side = 2 * round(1.2 * sigma) + 1
    highest_HW = cv2.dilate(blob_HW, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)))
    peaks = blob_HW[(blob_HW >= highest_HW) & (blob_HW > _MIN_BLOB)]
    return float(peaks.mean()) if len(peaks) else 0.0


def image_typical_radius(image_HW3: NDArray[np.uint8]) -> float:
    """Typical radius in px of the nuclei of an RGB image."""
    return typical_radius(standardised_input.haematoxylin_margin(standardised_input.planes(image_HW3)))

"""How large the nuclei of an image are, without segmenting it, and whether that fits the magnification it should have.

At 40x (0.25 um per pixel) the typical radius of an image is 7 to 16 px, over the 30 images of MoNuSeg's training set in the
median 14.9; of the same images at half the size 8.0. One image can mislead (five of the thirty lie under the limit at 40x,
most of kidney), a set hardly.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from nucleate.errors import InvalidInput
from nucleate.pathology.stains import standardised_input

MICRONS = 0.25  # side of a pixel at 40x, in um, at which everything is trained
SMALLEST_AT_40X = 10.5  # px: half-way, by octave, between the medians of both magnifications
UNKNOWN = 12.0  # px at 40x, where nothing is dark
_LEAST_MICRONS, _MOST_MICRONS = 0.05, 4.0
_SIGMAS = np.geomspace(3.0, 15.5, 10)
_COARSE = 5.0  # px of sigma from which half the resolution is enough
_LEAST_BLOB = 0.05
# The answer to a disk falls to .93 of its best at 1.23 of the best sigma; nuclei differ in size, which widens that.
_PLATEAU, _OF_PLATEAU = 0.93, 0.75


def typical_radius(margin_HW: NDArray[np.float32]) -> float:
    """Radius in px of the larger disks that dark blobs answer to: scale selection by the normalised Laplacian (Lindeberg 1998).

    Where chromatin is coarse, its grains answer as well as the nuclei do, and the best scale may be theirs. So the last scale
    counts whose answer comes close to the best one.
    """
    bounded_HW = np.clip(margin_HW, -1, 1)
    half_HW = np.asarray(cv2.resize(bounded_HW, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.float32)
    answers = np.array([_blob_answer(half_HW, s / 2) if s > _COARSE else _blob_answer(bounded_HW, s) for s in _SIGMAS])
    least = _PLATEAU * float(answers.max())
    if least <= 0:
        return UNKNOWN
    last = int(np.flatnonzero(answers >= least)[-1])
    position = float(last)
    if last < len(answers) - 1:
        position += (answers[last] - least) / (answers[last] - answers[last + 1])
    sigma = float(np.exp(np.interp(position, np.arange(len(_SIGMAS)), np.log(_SIGMAS))))
    return _OF_PLATEAU * float(np.sqrt(2)) * sigma


def _blob_answer(plane_HW: NDArray[np.float32], sigma: float) -> float:
    """Mean of the clear maxima of the scale-normalised Laplacian."""
    smooth_HW = cv2.GaussianBlur(plane_HW, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
    blob_HW = -np.asarray(cv2.Laplacian(smooth_HW, cv2.CV_32F, ksize=1)) * np.float32(sigma**2)
    side = 2 * round(1.2 * sigma) + 1
    highest_HW = cv2.dilate(blob_HW, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)))
    peaks = blob_HW[(blob_HW >= highest_HW) & (blob_HW > _LEAST_BLOB)]
    return float(peaks.mean()) if len(peaks) else 0.0


def radius_in(image_HW3: NDArray[np.uint8]) -> float:
    """Typical radius in px of the nuclei of an RGB image."""
    return typical_radius(standardised_input.margin(standardised_input.planes(image_HW3)))


def factor(microns: float, name: str) -> float:
    """What an image's sides are multiplied with to bring pixels of `microns` um to those of 40x; 1 where 0, not known.

    Raises:
        InvalidInput: not between 0.05 and 4, or not a number.
    """
    if microns and not _LEAST_MICRONS <= microns <= _MOST_MICRONS:
        raise InvalidInput(f"{name}: pixels of {microns:g} um; give {_LEAST_MICRONS} to {_MOST_MICRONS:g}, 0.25 is 40x")
    return microns / MICRONS if microns else 1.0


def magnification_warning(radii: Sequence[float]) -> str:
    """What to tell people whose images look as if taken at 20x or less; empty for images that do not."""
    median = float(np.median(radii)) if len(radii) else SMALLEST_AT_40X
    if median >= SMALLEST_AT_40X:
        return ""
    return (
        f"nuclei are small for 40x: the typical radius is {median:.1f} px, where 40x (0.25 um per pixel) shows about 15; "
        "if the images were taken at 20x, say that their pixels are 0.5 um"
    )

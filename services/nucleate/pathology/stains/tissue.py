"""Which pixels of an H&E image are stained tissue, and whether there is enough of it."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from nucleate.errors import InvalidImage
from nucleate.pathology.stains.optical_density import rgb_to_od

#: A pixel is stained above this mean OD (grey level 220) when its channels also differ by `TISSUE_CHROMA`.
TISSUE_OD = 0.15
TISSUE_CHROMA = 0.05
#: An image with less stained area than this has nothing to segment.
MIN_TISSUE = 0.01


def tissue_mask(rgb: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """HW bool: pixels that are stained, i.e. neither glass nor neutral grey or black (ink, shadow)."""
    od_HWC = rgb_to_od(rgb)
    red, green, blue = cv2.split(od_HWC)
    mean = (red + green + blue) / 3
    chroma = cv2.max(cv2.max(red, green), blue) - cv2.min(cv2.min(red, green), blue)
    mask: NDArray[np.bool_] = (mean > TISSUE_OD) & (chroma > TISSUE_CHROMA)
    return mask


def require_tissue(rgb: NDArray[np.uint8], name: str) -> None:
    """Raise `InvalidImage` unless at least `MIN_TISSUE` of the pixels are stained."""
    stained = float(tissue_mask(rgb).mean())
    if stained < MIN_TISSUE:
        raise InvalidImage(f"{name} has no stained tissue ({stained:.1%} of its pixels): leave it out or crop to the tissue")

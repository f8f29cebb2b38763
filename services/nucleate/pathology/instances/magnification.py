"""Pixel sizes relative to 40x (0.25 um), at which everything is trained, and whether nuclei look as if taken at another one.

The typical radius of an image at 40x is 7 to 16 px, over the 30 images of MoNuSeg's training set in the median 14.9; of the
same images at half the size 8.0. One image can mislead (five of the thirty lie under the limit at 40x, most of kidney), a set
hardly.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nucleate.errors import InvalidInput

MICRONS_PER_PIXEL_40X = 0.25  # side of a pixel, um
MIN_RADIUS_AT_40X = 10.5  # px: half-way, by octave, between the medians of both magnifications
_MIN_MICRONS, _MAX_MICRONS = 0.05, 4.0


def scale_to_40x(microns: float, name: str) -> float:
    """What an image's sides are multiplied with to bring pixels of `microns` um to those of 40x; 1 where 0, not known.

    Raises:
        InvalidInput: not between 0.05 and 4, or not a number.
    """
    if microns and not _MIN_MICRONS <= microns <= _MAX_MICRONS:
        raise InvalidInput(f"{name}: pixels of {microns:g} um; give {_MIN_MICRONS} to {_MAX_MICRONS:g}, 0.25 is 40x")
    return microns / MICRONS_PER_PIXEL_40X if microns else 1.0


def magnification_warning(radii: Sequence[float]) -> str:
    """What to tell people whose images look as if taken at 20x or less; empty for images that do not."""
    median = float(np.median(radii)) if len(radii) else MIN_RADIUS_AT_40X
    if median >= MIN_RADIUS_AT_40X:
        return ""
    return (
        f"nuclei are small for 40x: the typical radius is {median:.1f} px, where 40x (0.25 um per pixel) shows about 15; "
        "if the images were taken at 20x, say that their pixels are 0.5 um"
    )

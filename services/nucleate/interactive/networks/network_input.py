"""The network's input from an image: stain-standardised colours, the haematoxylin margin, and how large its nuclei are.

Nuclei of one image are much alike, those of the next may have half the diameter. A crop of one nucleus does not tell a small
nucleus from a piece of a large one, so the fifth plane holds one level everywhere: the typical radius of the whole image.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nucleate.pathology.instances.typical_radius import typical_radius
from nucleate.pathology.stains import standardised_input

PLANES = standardised_input.PLANES + 1
MIN_RADIUS, OCTAVES = 4.0, 3.0  # px: radii from 4 to 32 px take the levels 0 to 255, evenly by octave


def network_input(image_HW3: NDArray[np.uint8], radius: float = 0) -> NDArray[np.uint8]:
    """The planes of an RGB image, H x W x 5 uint8: `standardised_input.planes` and the level of the typical radius.

    `radius`: the typical radius in px, where it is known; measured otherwise.
    """
    planes_HW4 = standardised_input.planes(image_HW3)
    level = radius_to_level(radius or typical_radius(standardised_input.haematoxylin_margin(planes_HW4)))
    return np.dstack([planes_HW4, np.full(planes_HW4.shape[:2], level, np.uint8)])


def radius_to_level(radius: float) -> int:
    """Level of a radius in px."""
    return round(float(np.clip(255 * np.log2(radius / MIN_RADIUS) / OCTAVES, 0, 255)))


def level_to_radius(level: float) -> float:
    """Radius in px of a level."""
    return float(MIN_RADIUS * np.exp2(OCTAVES * level / 255))


def rescaled_level(level: float, scale: float) -> float:
    """Level after the image was enlarged by `scale`."""
    return float(np.clip(level + 255 * np.log2(scale) / OCTAVES, 0, 255))

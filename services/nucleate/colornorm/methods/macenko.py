"""Normalization by Macenko's stains; how they are found is in `nucleate.pathology.stains.macenko_stains`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nucleate.colornorm.methods.density_matrix import apply_density_matrix, density_table
from nucleate.pathology.stains.macenko_stains import GLASS, OFFSET, PIXELS, WHITE, measure
from nucleate.pathology.stains.stain_vectors import Stains, stain_transfer_matrix

__all__ = ["GLASS", "OFFSET", "PIXELS", "WHITE", "apply", "measure"]


def apply(rgb_HW3: NDArray[np.uint8], source: Stains, target: Stains) -> NDArray[np.uint8]:
    """The image with the target's stains, HW3 uint8."""
    return apply_density_matrix(rgb_HW3, stain_transfer_matrix(source, target), density_table(WHITE, OFFSET), WHITE)

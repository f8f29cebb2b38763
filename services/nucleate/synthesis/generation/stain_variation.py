"""Stain variation: a synthetic image in colours between those of its reference and of another image of the pool.

Laboratories differ in dye and section thickness, and the pool shows by how much. Densities are unmixed along the
reference's stains and remixed along stains nearer to a partner's (Macenko et al., ISBI 2009).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from nucleate.pathology.stains.optical_density import od_to_rgb, rgb_to_od
from nucleate.pathology.stains.stain_vectors import Stains, stain_transfer_matrix


@dataclass(frozen=True)
class ImageStains:
    """The stains of one image of the pool, None where two can't be told apart."""

    name: str
    stains: Stains | None


def vary_stains(
    rgb: NDArray[np.uint8], own: Stains | None, pool: Sequence[ImageStains], probability: float, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], dict[str, Any] | None]:
    """An HWC uint8 image in other stains, and whose they are, or as it was and None.

    With `probability` the stains move towards those of a random partner, by a share uniform in [0, 1]. What neither
    stain explains, grain above all, stays as it is.
    """
    draw, share, pick = rng.random(3)
    partners = [each for each in pool if each.stains is not None]
    if own is None or not partners or draw >= probability:
        return rgb, None
    partner = partners[int(pick * len(partners))]
    assert partner.stains is not None
    target = _interpolate(own, partner.stains, float(share))
    unexplained = np.eye(3) - own.vectors.T @ np.linalg.pinv(own.vectors).T
    change_33 = stain_transfer_matrix(own, target) + unexplained
    density = cv2.transform(rgb_to_od(rgb), change_33.astype(np.float32))
    return od_to_rgb(np.asarray(density)), {"partner": partner.name, "share": round(float(share), 4)}


def _interpolate(one: Stains, other: Stains, share: float) -> Stains:
    """Stains on the way from one to the other: directions linearly, highest concentrations by their logarithms."""
    vectors = (1 - share) * one.vectors + share * other.vectors
    return Stains(
        vectors / np.linalg.norm(vectors, axis=1, keepdims=True),
        np.exp((1 - share) * np.log(one.max_concentrations) + share * np.log(other.max_concentrations)),
    )

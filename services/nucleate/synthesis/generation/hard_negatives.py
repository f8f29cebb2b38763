"""Hard negatives: dark or red things that are no nuclei, drawn into the background and labelled as that.

The super-segmentation takes everything dark out of the background, also what real tissue has beside nuclei. A network that
never sees it takes it for nuclei later. Three kinds are put back: debris (small dark specks), red cells (discs of eosin) and
nuclei far out of focus. None comes near a nucleus of the mask, whose border it would blur.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from nucleate.pathology.stains.optical_density import HED, od_to_rgb, rgb_to_od
from nucleate.synthesis.analysis.reference import Reference
from nucleate.synthesis.nuclear_contours import fourier_contour

KINDS = ("debris", "red cell", "out of focus")
_SHARE = (0.5, 0.25, 0.25)
_CLEAR = 4  # px between a hard negative and the nearest nucleus
_TRIES = 8
_RED_CELL_AREA = (180.0, 420.0)  # px^2 at 40x, where one is 4 to 6 um across in a section
_RED_CELL_OD = (0.5, 1.0)  # of eosin over what is there
_DEBRIS_AREA = (6.0, 30.0)
_FOCUS_SIGMA = (4.0, 7.0)  # px
_MARGIN = 16  # px round a contour, for its blur

Plane = NDArray[np.float32]
Renderer = Callable[[np.random.Generator, Reference], tuple[Plane, NDArray[np.float64]]]


def add_hard_negatives(
    background_rgb: NDArray[np.uint8], instances: NDArray[np.int32], reference: Reference, rate: float, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], dict[str, int]]:
    """The background with hard negatives, HWC uint8, and how many there are of every kind.

    Args:
        background_rgb: HWC uint8, without nuclei.
        instances: HW int32, the nuclei that will lie on it.
        reference: gives stain and size.
        rate: hard negatives per nucleus of the mask, in the mean.
        rng: of the image's own stream.
    """
    counts = dict.fromkeys(KINDS, 0)
    number = int(rng.poisson(rate * int(instances.max())))
    if not number:
        return background_rgb, counts
    density = rgb_to_od(background_rgb)
    room = cv2.distanceTransform((instances == 0).astype(np.uint8), cv2.DIST_L2, 5)
    for kind in rng.choice(len(KINDS), number, p=_SHARE):
        alpha_hw, od_3 = _RENDERERS[kind](rng, reference)
        if _place(density, room, alpha_hw, od_3, rng):
            counts[KINDS[kind]] += 1
    return od_to_rgb(density), counts


def _place(density: Plane, room: Plane, alpha_hw: Plane, od_3: NDArray[np.float64], rng: np.random.Generator) -> bool:
    """Add `alpha * od` where no nucleus is near; False where none of a few places has room."""
    height, width = alpha_hw.shape
    seen = alpha_hw > 0.02
    for _ in range(_TRIES):
        top, left = (int(rng.integers(0, max(1, side - size))) for side, size in zip(room.shape, alpha_hw.shape, strict=True))
        box = np.s_[top : top + height, left : left + width]
        if room[box].shape == seen.shape and room[box][seen].min() > _CLEAR:
            density[box] += alpha_hw[..., None] * od_3.astype(np.float32)
            return True
    return False


def _debris(rng: np.random.Generator, reference: Reference) -> tuple[Plane, NDArray[np.float64]]:
    ratio = float(rng.uniform(0.4, 1.0))
    speck = _soft_shape(rng, float(rng.uniform(*_DEBRIS_AREA)), ratio, reference, reference.edge_sigma)
    return speck, _nuclear_od(rng, reference, 1.0)


def _red_cell(rng: np.random.Generator, reference: Reference) -> tuple[Plane, NDArray[np.float64]]:
    ratio = float(rng.uniform(0.75, 1.0))
    disc = _soft_shape(rng, float(rng.uniform(*_RED_CELL_AREA)), ratio, reference, reference.edge_sigma)
    eosin = HED[1] if reference.stains is None else reference.stains.vectors[1]
    return disc, eosin * float(rng.uniform(*_RED_CELL_OD))


def _out_of_focus(rng: np.random.Generator, reference: Reference) -> tuple[Plane, NDArray[np.float64]]:
    model = int(rng.integers(len(reference.nuclei)))
    area, ratio = float(reference.nuclei.areas[model]), float(reference.nuclei.axis_ratios[model])
    return _soft_shape(rng, area, ratio, reference, float(rng.uniform(*_FOCUS_SIGMA))), _nuclear_od(rng, reference, 0.5)


_RENDERERS: tuple[Renderer, ...] = (_debris, _red_cell, _out_of_focus)


def _nuclear_od(rng: np.random.Generator, reference: Reference, share: float) -> NDArray[np.float64]:
    """Haematoxylin density of nuclei over that of the background, as densities of R, G and B."""
    vector = HED[0] if reference.stains is None else reference.stains.vectors[0]
    level = reference.haematoxylin_od["nuclei"] - reference.haematoxylin_od["background"]
    return np.asarray(vector * max(level, 0.1) * share * float(rng.uniform(0.7, 1.2)), np.float64)


def _soft_shape(rng: np.random.Generator, area: float, ratio: float, reference: Reference, sigma: float) -> Plane:
    """Opacity of one body with a Gaussian edge, just large enough to hold it."""
    points = fourier_contour(rng, area, ratio, float(rng.uniform(0, np.pi)), reference.contour_power)
    low = np.floor(points.min(axis=0)) - _MARGIN
    width, height = (np.ceil(points.max(axis=0)) + _MARGIN - low).astype(int).tolist()
    body = np.zeros((height, width), np.uint8)
    cv2.fillPoly(body, [np.rint((points - low) * 16).astype(np.int32)], 1, shift=4)
    return np.asarray(cv2.GaussianBlur(body.astype(np.float32), (0, 0), sigma), np.float32)

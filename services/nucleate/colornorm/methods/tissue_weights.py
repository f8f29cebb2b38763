"""Which pixels are tissue, how much, and whether an image has colours to normalize at all."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from nucleate.colornorm.methods.density_matrix import for_strips
from nucleate.pathology.stains.optical_density import rgb_to_od
from nucleate.pathology.stains.tissue import TISSUE_OD, tissue_mask

MIN_TISSUE = 0.02  # of the pixels
SAMPLED_SIDE = 200  # statistics are taken from every k-th pixel of larger images
GLASS_LEVEL = 245.0  # of a slide whose background is not in the image
DIMMEST_GLASS = 150
MIN_GLASS = 0.005  # of the pixels, to believe that the background is in the image
RAMP = (25.0, 8.0)  # grey levels below the glass at which a pixel is all tissue, and all background


@dataclass(frozen=True)
class TissueSample:
    """The tissue of a uint8 RGB image as normalization needs it.

    Attributes:
        status: "" when it can be normalized, else "low_tissue" or "grey".
        sample: K3 uint8, stained pixels of a regular sample of the image; empty unless status is "".
        weight_of_level: 256 float32, tissue weight (0 background .. 1 tissue) of a pixel's smallest channel.
    """

    status: str
    sample: NDArray[np.uint8]
    weight_of_level: NDArray[np.float32]


def sample_tissue(rgb_HW3: NDArray[np.uint8]) -> TissueSample:
    """Tissue of a regular sample of an HW3 uint8 RGB image."""
    step = max(1, min(rgb_HW3.shape[:2]) // SAMPLED_SIDE)
    sampled_hw3 = np.ascontiguousarray(rgb_HW3[::step, ::step])
    stained_hw = tissue_mask(sampled_hw3)
    if stained_hw.mean() >= MIN_TISSUE:
        status = ""
    else:
        absorbing = float((rgb_to_od(sampled_hw3).mean(axis=2) > TISSUE_OD).mean())
        status = "grey" if absorbing >= MIN_TISSUE else "low_tissue"
    return TissueSample(status, sampled_hw3[stained_hw], _weights(_glass_level(sampled_hw3, stained_hw)))


def keep_glass(rgb_HW3: NDArray[np.uint8], moved_HW3: NDArray[np.uint8], tissue: TissueSample) -> None:
    """Bring back in `moved_HW3`, in place, what is no tissue in the image it comes from, by the tissue weight of each pixel."""
    weights = tissue.weight_of_level
    brightest = int(np.argmax(weights < 1)) if (weights < 1).any() else 256  # weights fall with the level

    def one(rows: slice) -> None:
        darkest_HW = darkest_channel(rgb_HW3[rows])
        if int(darkest_HW.max()) >= brightest:
            weight_HW = cv2.LUT(darkest_HW, weights)
            moved_HW3[rows] = cv2.blendLinear(moved_HW3[rows], rgb_HW3[rows], weight_HW, 1.0 - weight_HW)

    for_strips(rgb_HW3.shape, one)


def darkest_channel(rgb_HW3: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """HW uint8: min(R, G, B). Pale eosin stands out against glass here, where in luma it hardly does."""
    red, green, blue = cv2.split(rgb_HW3)
    return np.asarray(cv2.min(cv2.min(red, green), blue), np.uint8)


def _glass_level(rgb_hw3: NDArray[np.uint8], stained_hw: NDArray[np.bool_]) -> float:
    levels = darkest_channel(rgb_hw3)[~stained_hw]
    glass = levels[levels >= DIMMEST_GLASS]
    return float(np.median(glass)) if len(glass) >= MIN_GLASS * stained_hw.size else GLASS_LEVEL


def _weights(glass: float) -> NDArray[np.float32]:
    below = glass - np.arange(256)
    weights: NDArray[np.float32] = np.clip((below - RAMP[1]) / (RAMP[0] - RAMP[1]), 0.0, 1.0).astype(np.float32)
    return weights

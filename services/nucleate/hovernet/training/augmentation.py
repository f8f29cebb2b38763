"""Augmentation of a training window: scale, the eight symmetries of the square, stain, blur and noise.

The HV maps are exactly equivariant under the square's symmetries (swap and sign), and invariant under isotropic scale, so that
targets are made once per image and only moved here. The stain augmentation (Tellez et al. 2019, Medical Image Analysis 58,
101544) is that of `stain_jitter` on densities that stay densities until blur and noise are in, with uniform strengths and
offsets that do not fade.
"""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
from numpy.typing import NDArray

from nucleate.pathology.stains.optical_density import HED, stain_scaling_matrix

# Logarithms in single precision, whose last bits differ from `optical_density`'s: trained models rest on them.
_DENSITY = -np.log(np.maximum(np.arange(256, dtype=np.float32), 1.0) / 255.0).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """Ranges: zoom factor, stain strength, stain offset (OD), blur sigma (px), noise and margin (of 1); and how often."""

    zoom: tuple[float, float] = (0.8, 1.25)
    stain: float = 0.3
    offset: float = 0.06
    blur: float = 1.2
    noise: float = 0.03
    margin: float = 0.15
    shift: float = 0.02
    colour_share: float = 0.9
    blur_share: float = 0.3
    noise_share: float = 0.3


@dataclasses.dataclass(frozen=True)
class TrainingWindow:
    """A training window: image HW4 float32 in 0..1, nuclei HW uint8 as of a batch, hv 2HW float32, weight HW float32."""

    image: NDArray[np.float32]
    nuclei: NDArray[np.uint8]
    hv: NDArray[np.float32]
    weight: NDArray[np.float32]


def apply_symmetry(window: TrainingWindow, code: int) -> TrainingWindow:
    """One of the eight symmetries of the square: bit 0 mirrors left-right, bit 1 top-bottom, bit 2 transposes."""
    image, nuclei, hv, weight = window.image, window.nuclei, window.hv, window.weight
    if code & 1:
        image, nuclei, weight = image[:, ::-1], nuclei[:, ::-1], weight[:, ::-1]
        hv = hv[:, :, ::-1] * np.array([-1.0, 1.0], np.float32)[:, None, None]
    if code & 2:
        image, nuclei, weight = image[::-1], nuclei[::-1], weight[::-1]
        hv = hv[:, ::-1] * np.array([1.0, -1.0], np.float32)[:, None, None]
    if code & 4:
        image, nuclei, weight = image.transpose(1, 0, 2), nuclei.T, weight.T
        hv = hv[::-1].transpose(0, 2, 1)
    return TrainingWindow(image, nuclei, hv, weight)


def augment_colour(image_HW4: NDArray[np.uint8], rng: np.random.Generator, ranges: Augmentation) -> NDArray[np.float32]:
    """Stain jitter, blur and noise of a window of `standardised_input.planes`; HW4 float32 in 0..1.

    The margin plane is stretched and shifted a little, as another threshold would.
    """
    density = _DENSITY[image_HW4[..., :3]]
    if rng.random() < ranges.colour_share:
        strength = rng.uniform(1.0 - ranges.stain, 1.0 + ranges.stain, 3)
        offset = rng.uniform(-ranges.offset, ranges.offset, 3) @ HED
        matrix = np.column_stack([stain_scaling_matrix(strength).T, offset])
        density = np.asarray(cv2.transform(density, matrix.astype(np.float32)), np.float32)
    if rng.random() < ranges.blur_share:
        density = np.asarray(cv2.GaussianBlur(density, (0, 0), rng.uniform(0.3, ranges.blur)), np.float32)
    image = np.exp(-density)
    if rng.random() < ranges.noise_share:
        image += rng.normal(0.0, rng.uniform(0.0, ranges.noise), image.shape)
    margin = (image_HW4[..., 3:] / 255.0 - 0.5) * rng.uniform(1.0 - ranges.margin, 1.0 + ranges.margin) + 0.5
    margin += rng.uniform(-ranges.shift, ranges.shift)
    return np.asarray(np.clip(np.concatenate([image, margin], axis=-1), 0.0, 1.0), np.float32)

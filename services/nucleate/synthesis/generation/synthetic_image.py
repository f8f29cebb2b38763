"""One synthetic image from one reference, reproducibly.

Image i of a run with seed s draws from SeedSequence([s, i]), one child stream per stage, so that neither the number of
workers, nor their order, nor a change in one stage shifts the numbers of another.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from nucleate.pathology.stains.tissue import tissue_mask
from nucleate.synthesis.analysis.reference import Reference, mean_colour, sharpness
from nucleate.synthesis.generation.composition import blend, paint_nuclei, soft_mask
from nucleate.synthesis.generation.hard_negatives import add_hard_negatives
from nucleate.synthesis.generation.layout import LayoutModel, NucleusLayout, sample_layout
from nucleate.synthesis.generation.stain_variation import ImageStains, vary_stains
from nucleate.synthesis.profiles import Profile

_WINDOWS = 8
_MIN_DENSITY = 0.3
#: Grain of the scanner: standard deviation of its blur in px, and the most that is added in grey levels before that blur.
_GRAIN_SIZE = 0.6
_MAX_NOISE = 8.0


@dataclass(frozen=True)
class SyntheticPair:
    """One synthetic image (HWC uint8), its instance map (HW int32, 1..N) and where it came from."""

    image: NDArray[np.uint8]
    instances: NDArray[np.int32]
    requested: int
    placed: int
    provenance: dict[str, Any]


def synthesize(
    reference: Reference, index: int, seed: int, profile: Profile, pool_stains: Sequence[ImageStains] = ()
) -> SyntheticPair:
    """Draw synthetic image `index` of the run `seed` from one reference; `pool_stains` are those of the whole pool."""
    window_rng, mask_rng, texture_rng, sensor_rng, negatives_rng, stain_rng = (
        np.random.default_rng(s) for s in np.random.SeedSequence([seed, index]).spawn(6)
    )
    window = sample_window(window_rng, reference.centre_intensity, profile.size)
    layout = sample_layout(
        mask_rng,
        layout_model(reference, window, profile),
        max_overlap=profile.max_overlap,
        roughness=profile.roughness,
        tries=profile.tries,
    )
    texture = paint_nuclei(layout, reference.nuclei, reference.texture_rgb, texture_rng, profile.gain_spread)
    background = np.ascontiguousarray(reference.background_rgb[window.rows[:, None], window.columns])
    background, hard_negatives = add_hard_negatives(background, layout.instances, reference, profile.distractors, negatives_rng)
    mask = soft_mask(layout.instances, reference.edge_sigma)
    blended = blend(mask, texture, background, profile.composite)
    blended, stains = vary_stains(blended, reference.stains, pool_stains, profile.restained, stain_rng)
    image = match_sharpness(blended, reference.sharpness, sensor_rng)
    turns, mirrored = int(window_rng.integers(4)), bool(window_rng.integers(2))
    return SyntheticPair(
        apply_symmetry(image, turns, mirrored=mirrored),
        apply_symmetry(layout.instances, turns, mirrored=mirrored),
        layout.requested,
        len(layout.nuclei),
        {
            "seed": seed,
            "index": index,
            "realism": realism(image, reference),
            "distractors": hard_negatives,
            "stains": stains,
            **_provenance(reference, profile, layout, window),
        },
    )


@dataclass(frozen=True)
class ReferenceWindow:
    """Rows and columns of the reference that an image shows; beyond its borders the reference is mirrored."""

    rows: NDArray[np.intp]
    columns: NDArray[np.intp]


def sample_window(rng: np.random.Generator, intensity_HW: NDArray[np.float32], size: int) -> ReferenceWindow:
    """A random window; of up to eight, the first with at least 30 % of the mean density of nuclei."""
    mean = float(intensity_HW.mean())
    for _ in range(_WINDOWS):
        window = ReferenceWindow(
            *(_reflected_indices(int(rng.integers(max(1, length - size + 1))), size, length) for length in intensity_HW.shape)
        )
        if float(intensity_HW[window.rows[:, None], window.columns].mean()) >= _MIN_DENSITY * mean:
            break
    return window


def _reflected_indices(start: int, size: int, length: int) -> NDArray[np.intp]:
    index = np.arange(start, start + size) % (2 * length)
    return np.where(index < length, index, 2 * length - 1 - index)


def layout_model(reference: Reference, window: ReferenceWindow, profile: Profile) -> LayoutModel:
    """What the mask of a window is sampled from."""
    nuclei = reference.nuclei
    intensity = reference.centre_intensity[window.rows[:, None], window.columns]
    return LayoutModel(
        centre_intensity=intensity,
        nearest=reference.nearest[window.rows[:, None], window.columns],
        areas=nuclei.areas,
        axis_ratios=nuclei.axis_ratios,
        angles=nuclei.angles,
        similar=reference.similar,
        expected=float(intensity.sum()),
        touching=reference.touching,
        contour_power=reference.contour_power if profile.outline == "fourier" else None,
    )


def match_sharpness(rgb: NDArray[np.uint8], wanted_sharpness: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """The scanner: blur an image that is sharper than its reference, add grain to one that is smoother."""
    have = sharpness(rgb)
    if have > 1.1 * wanted_sharpness:
        return np.asarray(cv2.GaussianBlur(rgb, (0, 0), 0.4), dtype=np.uint8)
    grain = cv2.GaussianBlur(rng.standard_normal(rgb.shape[:2], dtype=np.float32), (0, 0), _GRAIN_SIZE)
    per_unit = float((cv2.Laplacian(grain, cv2.CV_32F) ** 2).mean())
    strength = min(math.sqrt(max(wanted_sharpness**2 - have**2, 0.0) / per_unit), _MAX_NOISE)
    return np.clip(np.rint(rgb + strength * grain[..., None]), 0, 255).astype(np.uint8)


def apply_symmetry(array: NDArray[Any], turns: int, *, mirrored: bool) -> NDArray[Any]:
    """One of the eight symmetries of the square."""
    out = np.rot90(array, turns)
    return np.ascontiguousarray(out[:, ::-1] if mirrored else out)


def realism(image: NDArray[np.uint8], reference: Reference) -> dict[str, float]:
    """How far an image is from its reference, at a glance: mean tissue colour in grey levels, and fine detail as a ratio.

    What a classifier makes of many images is `bench realism`.
    """
    tissue = tissue_mask(image)
    colour = mean_colour(image, tissue) if tissue.any() else (255.0, 255.0, 255.0)
    return {
        "colour_distance": round(math.dist(colour, reference.tissue_rgb), 2),
        "sharpness_ratio": round(sharpness(image) / max(reference.sharpness, 1e-6), 3),
    }


def _provenance(reference: Reference, profile: Profile, layout: NucleusLayout, window: ReferenceWindow) -> dict[str, Any]:
    return {
        "version": version("nucleate"),
        "reference": {"name": reference.name, "sha256": reference.sha256},
        "window": {"row": int(window.rows[0]), "column": int(window.columns[0])},
        "requested": layout.requested,
        "placed": len(layout.nuclei),
        "profile": asdict(profile),
    }

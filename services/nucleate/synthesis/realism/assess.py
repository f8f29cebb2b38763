"""Everything `bench realism` says about a set of synthetic images beside the real ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nucleate.errors import EmptyInput
from nucleate.pathology.instances.instance_map import areas
from nucleate.pathology.segmentation.classical import segment
from nucleate.synthesis.realism.distances import colour_distance, earth_movers, gradient_energy, texture_distance
from nucleate.synthesis.realism.features import describe_crop
from nucleate.synthesis.realism.twosample import test_two_samples

CROP = 128
_TOP_FEATURES = 12


@dataclass(frozen=True)
class Picture:
    """An image to compare: HWC uint8 RGB and the name of the real image it is, or is drawn from."""

    rgb: NDArray[np.uint8]
    source: str


@dataclass(frozen=True)
class _Measured:
    """Features of crops by name, nuclear areas (px^2), nuclei per megapixel of every crop's image, mean gradient energy."""

    crops: list[dict[str, float]]
    sizes: NDArray[np.float64]
    density: float
    energy: float


def assess(
    real: Sequence[Picture], synthetic: Sequence[Picture], crops: int, seed: int, on_image: Callable[[int], None]
) -> dict[str, Any]:
    """Scores by name, JSON-able; `auc` is the two-sample AUC.

    `crops` of 128 px are drawn from every real image, and as many in all from the synthetic images of one source. Both sides
    are measured by the same classical segmentation: sizes and densities compare its errors as well.

    Raises:
        EmptyInput: a side holds no image.

    """
    for name, side in (("real", real), ("synthetic", synthetic)):
        if not side:
            raise EmptyInput(f"realism got no {name} images: give at least two of different sources")
    measured: list[list[_Measured]] = [[], []]
    shared = max(1, crops * len({p.source for p in synthetic}) // len(synthetic))
    for kind, side in enumerate((real, synthetic)):
        for index, picture in enumerate(side):
            rng = np.random.default_rng([seed, kind, index])
            measured[kind].append(_measure(picture.rgb, shared if kind else crops, rng))
            on_image(len(measured[0]) + len(measured[1]))
    return _compare([p.source for p in real], [p.source for p in synthetic], *measured)


def _measure(rgb: NDArray[np.uint8], crops: int, rng: np.random.Generator) -> _Measured:
    instances = segment(rgb)
    corners = [[int(rng.integers(0, max(1, length - CROP + 1))) for length in rgb.shape[:2]] for _ in range(crops)]
    described = [describe_crop(np.ascontiguousarray(rgb[y : y + CROP, x : x + CROP])) for y, x in corners]
    density = 1e6 * int(instances.max()) / instances.size
    return _Measured(described, areas(instances)[1:].astype(np.float64), density, gradient_energy(rgb))


def _compare(
    real_sources: list[str], synthetic_sources: list[str], real: list[_Measured], synthetic: list[_Measured]
) -> dict[str, Any]:
    number = {name: k for k, name in enumerate(dict.fromkeys([*real_sources, *synthetic_sources]))}
    rows, group, is_synthetic = [], [], []
    for names, side, synthetic_side in ((real_sources, real, False), (synthetic_sources, synthetic, True)):
        for name, image in zip(names, side, strict=True):
            rows += [list(crop.values()) for crop in image.crops]
            group += [number[name]] * len(image.crops)
            is_synthetic += [synthetic_side] * len(image.crops)
    features_NF, synthetic_N = np.array(rows, np.float32), np.array(is_synthetic, np.bool_)
    found = test_two_samples(features_NF, synthetic_N, np.array(group))
    names = list(real[0].crops[0])
    used = np.argsort(-found.importance)[:_TOP_FEATURES]
    sizes = [np.concatenate([image.sizes for image in side]) for side in (real, synthetic)]
    return {
        "auc": found.auc,
        "auc_interval": list(found.interval),
        "colour_distance": colour_distance(features_NF, names, synthetic_N),
        "texture_distance": texture_distance(features_NF, names, synthetic_N),
        "size_emd_px": earth_movers(*(np.sqrt(each / np.pi) for each in sizes)),
        "density_emd_per_mpx": earth_movers(*(np.array([image.density for image in side]) for side in (real, synthetic))),
        "gradient_energy_ratio": float(np.mean([i.energy for i in synthetic]) / np.mean([i.energy for i in real])),
        "images": {"real": len(real), "synthetic": len(synthetic)},
        "crops": {"real": int((~synthetic_N).sum()), "synthetic": int(synthetic_N.sum())},
        "most_used": {
            names[k]: {"importance": float(found.importance[k]), "shift": _shift(features_NF[:, k], synthetic_N)} for k in used
        },
    }


def _shift(values_N: NDArray[np.float32], synthetic_N: NDArray[np.bool_]) -> float:
    """Mean of synthetic minus mean of real, in standard deviations of the real crops."""
    spread = float(values_N[~synthetic_N].std())
    return float(values_N[synthetic_N].mean() - values_N[~synthetic_N].mean()) / max(spread, 1e-9)

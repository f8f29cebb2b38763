"""Tissue drawn from nothing: H&E-like images with their exact instance maps, for the demo and for tests.

No image is needed: glands, stroma, lumina and red cells come from random fields, nuclei of three kinds (epithelial,
lymphocyte, fibroblast) from random contours, and every image has its own stains. Faint nuclei and bluish smudges that are
no nuclei keep threshold methods from being perfect.

    python -m nucleate.synthesis.phantom.tissue --count N --size S --seed K --out DIR

writes DIR/images/*.png and DIR/masks/*.png (16-bit instance maps).
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from nucleate.errors import InvalidInput
from nucleate.pathology.images.codec import encode_instances, encode_png
from nucleate.pathology.stains.optical_density import od_to_rgb
from nucleate.synthesis.generation.layout import LayoutModel, NucleusLayout, sample_layout
from nucleate.synthesis.phantom.noise import fibres, fractal, logistic_step
from nucleate.synthesis.profiles import MAX_SIZE, MIN_SIZE

Plane = NDArray[np.float32]

EPITHELIAL, LYMPHOCYTE, FIBROBLAST = range(3)
#: Nuclei of every kind to model on, per image.
_MODELS = 40
#: Median area (px^2 at 40x), its log spread, and axis ratio of every kind.
_KINDS = ((340.0, 0.28, 0.78), (120.0, 0.18, 0.9), (170.0, 0.3, 0.36))
_JPEG_QUALITY = 88


@dataclass(frozen=True)
class _Style:
    """What differs between slides: stain vectors (2 x RGB, unit OD), densities, sizes, architecture."""

    stains: NDArray[np.float32]
    haematoxylin: float
    eosin: float
    cell_size: float
    crowding: float
    epithelium: float
    glass: float
    fibre_angle: float
    pale: float


@dataclass(frozen=True)
class _StainFields:
    """Stain densities without nuclei, and where what is: weights in [0, 1] of epithelium, lymphocytes' niches and glass."""

    haematoxylin: Plane
    eosin: Plane
    epithelium: Plane
    niche: Plane
    glass: Plane


def draw_tissue(seed: int, size: int) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """A size x size RGB image (HWC uint8) and its instance map (HW int32, 1..N); the same seed gives the same bytes.

    `size` in px at 40x (0.25 um). Raises `InvalidInput` outside of 64 to 4096 px or for a negative seed.
    """
    if not MIN_SIZE <= size <= MAX_SIZE:
        raise InvalidInput(f"size {size} is outside of {MIN_SIZE} to {MAX_SIZE} px: choose one within")
    if seed < 0:
        raise InvalidInput(f"seed {seed} is negative: choose 0 or more")
    streams = np.random.SeedSequence(seed).spawn(5)
    style_rng, ground_rng, mask_rng, nucleus_rng, sensor_rng = (np.random.default_rng(stream) for stream in streams)
    style = _style(style_rng)
    fields = _stain_fields(ground_rng, size, style)
    layout = sample_layout(mask_rng, _layout(mask_rng, fields, style), max_overlap=0.05, roughness=0.1, tries=6)
    haematoxylin, eosin = _render_nuclei(nucleus_rng, fields, layout, style)
    density = haematoxylin[..., None] * style.stains[0] + eosin[..., None] * style.stains[1]
    return _acquire(sensor_rng, density), layout.instances


def _style(rng: np.random.Generator) -> _Style:
    stains = np.array([[0.62, 0.73, 0.30], [0.13, 0.90, 0.36]]) + rng.normal(0.0, 0.05, (2, 3))
    return _Style(
        stains=(stains / np.linalg.norm(stains, axis=1, keepdims=True)).astype(np.float32),
        haematoxylin=float(rng.uniform(0.95, 1.45)),
        eosin=float(rng.uniform(0.7, 1.25)),
        cell_size=float(rng.uniform(0.8, 1.7)),
        crowding=float(rng.uniform(0.5, 1.0)),
        epithelium=float(rng.uniform(-0.8, 0.6)),
        glass=float(rng.uniform(1.3, 2.2)),
        fibre_angle=float(rng.uniform(0.0, np.pi)),
        pale=float(rng.uniform(0.1, 0.7)),
    )


def _stain_fields(rng: np.random.Generator, size: int, style: _Style) -> _StainFields:
    epithelium = logistic_step(fractal(rng, size, 150.0), style.epithelium, 0.12)
    glass = logistic_step(fractal(rng, size, 90.0), style.glass, 0.06)
    clefts = logistic_step(fibres(rng, size, style.fibre_angle, 120.0, 14.0), 1.9, 0.1) * (1 - epithelium)
    glass = np.maximum(glass, clefts)
    strands, grain, cytoplasm = fibres(rng, size, style.fibre_angle), fractal(rng, size, 3.0, 2), fractal(rng, size, 14.0)
    stroma = 0.42 + 0.10 * strands + 0.05 * fractal(rng, size, 60.0)
    cells = 0.36 + 0.05 * cytoplasm + 0.03 * fractal(rng, size, 50.0)
    eosin = style.eosin * np.maximum(epithelium * cells + (1 - epithelium) * stroma + 0.03 * grain, 0.05)
    haematoxylin = style.haematoxylin * np.maximum(0.05 + epithelium * (0.12 + 0.03 * cytoplasm) + 0.015 * grain, 0.0)
    haematoxylin += _smudges(rng, size, style)
    eosin += 0.8 * style.eosin * _red_cells(rng, size, glass)
    niche = logistic_step(fractal(rng, size, 110.0), 1.2, 0.15) * (1 - epithelium)
    left = 1.0 - 0.95 * glass
    return _StainFields((haematoxylin * left).astype(np.float32), (eosin * left).astype(np.float32), epithelium, niche, glass)


def _smudges(rng: np.random.Generator, size: int, style: _Style) -> Plane:
    """Bluish stain that is no nucleus: debris and what lies out of focus."""
    points = np.zeros((size, size), dtype=np.float32)
    for _ in range(int(rng.poisson(25 * size * size / 1e6))):
        spot = rng.uniform(0, size, 2).astype(int).tolist()
        cv2.ellipse(
            points, (spot, rng.uniform(6, 22, 2).tolist(), float(rng.uniform(0, 180))), float(rng.uniform(0.15, 0.4)), -1
        )
    return np.asarray(style.haematoxylin * cv2.GaussianBlur(points, (0, 0), 3.0), dtype=np.float32)


def _red_cells(rng: np.random.Generator, size: int, glass: Plane) -> Plane:
    """Disks of eosin in groups, most of them in lumina."""
    disks = np.zeros((size, size), dtype=np.float32)
    for _ in range(int(rng.poisson(6 * size * size / 1e6))):
        centre = rng.uniform(0, size, 2)
        column, row = centre.astype(int)
        for spot in centre + rng.normal(0.0, 22.0, (8 if glass[row, column] > 0.5 else 2, 2)):
            cv2.circle(disks, spot.astype(int).tolist(), int(rng.integers(8, 12)), float(rng.uniform(0.6, 1.0)), -1)
    return np.asarray(cv2.GaussianBlur(disks, (0, 0), 1.2), dtype=np.float32)


def _layout(rng: np.random.Generator, fields: _StainFields, style: _Style) -> LayoutModel:
    """Densities by kind of tissue; `nearest` is the kind that prevails, `similar` the models of each kind."""
    medians, spreads, ratios = (np.repeat(column, _MODELS) for column in zip(*_KINDS, strict=True))
    areas = style.cell_size * medians * np.exp(rng.normal(0.0, spreads))
    ratios = np.clip(ratios * np.exp(rng.normal(0.0, 0.12, ratios.size)), 0.25, 1.0)
    angles = rng.uniform(0.0, np.pi, areas.size)
    angles[FIBROBLAST * _MODELS :] = style.fibre_angle + rng.normal(0.0, 0.25, _MODELS)
    kind = np.full(fields.glass.shape, FIBROBLAST, dtype=np.int32)
    kind[fields.epithelium > 0.5] = EPITHELIAL
    kind[fields.niche > 0.5] = LYMPHOCYTE
    per_px = np.array(
        [style.crowding * 0.42 / (style.cell_size * 340.0), style.crowding * 0.45 / (style.cell_size * 120.0), 6e-4]
    )
    intensity = per_px[kind] * (1.0 - fields.glass) ** 4
    return LayoutModel(
        centre_intensity=intensity.astype(np.float32),
        nearest=kind,
        areas=areas.astype(np.float32),
        axis_ratios=ratios.astype(np.float32),
        angles=angles.astype(np.float32),
        similar=np.arange(3 * _MODELS, dtype=np.int32).reshape(3, _MODELS),
        expected=float(intensity.sum()),
        touching=0.3,
    )


def _render_nuclei(rng: np.random.Generator, fields: _StainFields, layout: NucleusLayout, style: _Style) -> tuple[Plane, Plane]:
    """Both stains with the nuclei laid over them."""
    instances = layout.instances
    kinds = np.array([FIBROBLAST, *(nucleus.model // _MODELS for nucleus in layout.nuclei)])
    # One value per label, 0 for the background: overall density, how pale inside, how clumped the chromatin.
    density = np.array([0.62, 0.95, 0.85])[kinds] * np.exp(rng.normal(0.0, 0.18, kinds.size))
    density[rng.random(kinds.size) < 0.06] *= 0.5
    pale = np.where((kinds == EPITHELIAL) & (rng.random(kinds.size) < style.pale), rng.uniform(0.3, 0.7, kinds.size), 0.0)
    clumps = np.array([0.22, 0.12, 0.12])[kinds] * rng.uniform(0.6, 1.4, kinds.size)
    inward = cv2.distanceTransform(_separated(instances).astype(np.uint8), cv2.DIST_L2, 5)
    rim = np.exp(-((inward / 1.8) ** 2))
    chromatin = fractal(rng, instances.shape[0], 5.0, 3)
    inside = density[instances] * (1.0 - pale[instances] * (1.0 - rim) + clumps[instances] * chromatin)
    inside += 0.45 * _nucleoli(rng, layout, pale)
    mask = cv2.GaussianBlur((instances > 0).astype(np.float32), (0, 0), 0.9)
    haematoxylin = mask * style.haematoxylin * np.maximum(inside, 0.05) + (1.0 - mask) * fields.haematoxylin
    eosin = mask * (0.5 * fields.eosin + 0.12) + (1.0 - mask) * fields.eosin
    return haematoxylin.astype(np.float32), eosin.astype(np.float32)


def _separated(instances: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Foreground without the pixels where two nuclei meet, so that each keeps its own rim."""
    low = cv2.erode(np.where(instances == 0, 1 << 15, instances).astype(np.float32), np.ones((3, 3), np.uint8))
    high = cv2.dilate(instances.astype(np.float32), np.ones((3, 3), np.uint8))
    apart: NDArray[np.bool_] = (instances > 0) & ((low == high) | (low >= 1 << 15))
    return apart


def _nucleoli(rng: np.random.Generator, layout: NucleusLayout, pale: NDArray[np.float64]) -> Plane:
    """Dark spots near the centres of pale nuclei, 0 to 3 each."""
    spots = np.zeros(layout.instances.shape, dtype=np.float32)
    for nucleus in layout.nuclei:
        reach = 0.3 * float(np.sqrt(nucleus.area / np.pi))
        for x, y in rng.normal(0.0, reach, (int(rng.integers(0, 4)) if pale[nucleus.label] > 0 else 0, 2)):
            cv2.circle(spots, (round(nucleus.x + x), round(nucleus.y + y)), int(rng.integers(1, 3)), 1.0, -1)
    return np.asarray(cv2.GaussianBlur(spots, (0, 0), 0.8), dtype=np.float32)


def _acquire(rng: np.random.Generator, density: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Optics, sensor and file: blur, grain, JPEG."""
    blurred = od_to_rgb(np.asarray(cv2.GaussianBlur(density, (0, 0), 0.7), dtype=np.float32) + np.float32(0.03))
    grain = cv2.GaussianBlur(rng.normal(0.0, 4.0, blurred.shape).astype(np.float32), (0, 0), 0.6)
    noisy = np.clip(np.rint(blurred + grain), 0, 255).astype(np.uint8)
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(noisy, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return np.ascontiguousarray(np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR))[..., ::-1], dtype=np.uint8)


def main(arguments: list[str] | None = None) -> None:
    """Draw `--count` images with consecutive seeds into a folder."""
    parser = argparse.ArgumentParser(
        prog="python -m nucleate.synthesis.phantom.tissue", description="Draw H&E-like tissue with masks."
    )
    parser.add_argument("--count", type=int, default=4)
    parser.add_argument("--size", type=int, default=512, help="side in px")
    parser.add_argument("--seed", type=int, default=0, help="of the first image")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args(arguments)
    if given.count < 1:
        parser.error(f"--count {given.count}: draw at least one image")
    try:
        for seed in range(given.seed, given.seed + given.count):
            _write(given.out, f"tissue-{seed:07d}.png", *draw_tissue(seed, given.size))
    except (InvalidInput, OSError) as error:
        parser.error(str(error))


def _write(folder: Path, name: str, rgb: NDArray[np.uint8], instances: NDArray[np.int32]) -> None:
    for kind, data in (("images", encode_png(rgb)), ("masks", encode_instances(instances)[0])):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        (folder / kind / name).write_bytes(data)


if __name__ == "__main__":
    main()

"""Step zero of the report's synthesis: the nuclear mask, as an instance map.

Nuclei are placed one after another. A nucleus may cover at most `max_overlap` of itself or of any nucleus that it
touches, whichever is smaller; otherwise it is offered another place, and in the end dropped and counted, never accepted.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from nucleate.synthesis.nuclear_contours import extent_towards, fourier_contour, polygon_contour

_SUBPIXEL_BITS = 4
#: Smaller than this a nucleus cut by the image border is not worth a label (px).
MIN_AREA = 12


@dataclass(frozen=True, slots=True)
class PlacedNucleus:
    """A placed nucleus: its label, centre (x, y) in px, area in px^2 before clipping, angle in rad, and its model.

    `model` is the index of the reference nucleus whose size, shape and texture it takes.
    """

    label: int
    x: float
    y: float
    area: float
    angle: float
    model: int


@dataclass
class Canvas:
    """An instance map under construction that keeps the overlap rule."""

    size: int
    max_overlap: float
    instances: NDArray[np.int32] = field(init=False)
    _shared: NDArray[np.bool_] = field(init=False)
    _areas: list[int] = field(init=False, default_factory=lambda: [0])

    def __post_init__(self) -> None:
        self.instances = np.zeros((self.size, self.size), dtype=np.int32)
        self._shared = np.zeros((self.size, self.size), dtype=np.bool_)

    @property
    def count(self) -> int:
        """Nuclei placed so far."""
        return len(self._areas) - 1

    def place(self, points_xy: NDArray[np.float32]) -> bool:
        """Draw the closed contour as the next label if the overlap rule allows it; where two overlap the earlier stays."""
        drawn = rasterise_contour(points_xy, self.size)
        if drawn is None:
            return False
        box, mask = drawn
        area = int(np.count_nonzero(mask))
        under = self.instances[box][mask]
        neighbours, covered = np.unique(under[under > 0], return_counts=True)
        smallest = min([area, *(self._areas[k] for k in neighbours)])
        # A pixel belongs to at most two nuclei, so that `covered` counts every intersection in full.
        if covered.sum() > self.max_overlap * smallest or (neighbours.size and self._shared[box][mask].any()):
            return False
        if area < MIN_AREA:
            return False
        self._areas.append(area)
        self._shared[box] |= mask & (self.instances[box] > 0)
        self.instances[box][mask & (self.instances[box] == 0)] = self.count
        return True


def rasterise_contour(points_xy: NDArray[np.float32], size: int) -> tuple[tuple[slice, slice], NDArray[np.bool_]] | None:
    """Pixels inside the contour, as (box, bool mask of the box); None if it lies outside of the size x size image.

    Pixel (row, column) has its centre at (x, y) = (column, row). OpenCV also fills the pixels that the contour passes
    through, so that the contour is first drawn in by half a pixel; the area is then unbiased.
    """
    outward = points_xy - points_xy.mean(axis=0)
    points_xy = points_xy - outward * (0.5 / np.maximum(np.linalg.norm(outward, axis=1, keepdims=True), 0.5))
    low = np.maximum(np.floor(points_xy.min(axis=0)).astype(int), 0)
    high = np.minimum(np.ceil(points_xy.max(axis=0)).astype(int) + 1, size)
    width, height = (high - low).tolist()
    if width <= 0 or height <= 0:
        return None
    mask = np.zeros((height, width), dtype=np.uint8)
    fixed = np.rint((points_xy - low) * (1 << _SUBPIXEL_BITS)).astype(np.int32)
    cv2.fillPoly(mask, [fixed[:, None, :]], 1, shift=_SUBPIXEL_BITS)
    return (slice(low[1], high[1]), slice(low[0], high[0])), mask.view(np.bool_)


@dataclass(frozen=True)
class LayoutModel:
    """Where nuclei may lie in one size x size image, and what they are modelled on.

    `centre_intensity`: HW float32, relative probability of a centre at every pixel. `nearest`: HW int32, index of the
    reference nucleus nearest to every pixel. `areas` (px^2), `axis_ratios`, `angles` (rad): of every reference nucleus.
    `similar`: (n, k) int32, the reference nuclei nearest to each, itself included. `expected`: mean number of nuclei.
    `touching`: fraction that touches another. `contour_power`: of the reference's contours, see
    `nuclear_contours.radial_power`; None for polygons.
    """

    centre_intensity: NDArray[np.float32]
    nearest: NDArray[np.int32]
    areas: NDArray[np.float32]
    axis_ratios: NDArray[np.float32]
    angles: NDArray[np.float32]
    similar: NDArray[np.int32]
    expected: float
    touching: float
    contour_power: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class NucleusLayout:
    """An instance map (HW int32, 1..N), its nuclei in label order, and how many were asked for."""

    instances: NDArray[np.int32]
    nuclei: tuple[PlacedNucleus, ...]
    requested: int


def sample_layout(
    rng: np.random.Generator, layout: LayoutModel, *, max_overlap: float, roughness: float, tries: int
) -> NucleusLayout:
    """Draw nuclei at random: how many, where, which shape; see `LayoutModel` for the distributions.

    `roughness` is the standard deviation of the radius of the polygons, `tries` how many places a nucleus is offered.
    """
    canvas = Canvas(layout.centre_intensity.shape[0], max_overlap)
    requested = round(layout.expected * float(np.clip(rng.normal(1.0, 0.2), 0.4, 1.6)))
    positions_xy = sample_positions(rng, layout.centre_intensity, requested * tries)
    sampler = _LayoutSampler(rng, layout, canvas, roughness)
    for offered in np.split(positions_xy, requested) if len(positions_xy) else []:
        sampler.place_nucleus(offered)
    return NucleusLayout(canvas.instances, tuple(sampler.nuclei), requested)


def sample_positions(rng: np.random.Generator, intensity_HW: NDArray[np.float32], count: int) -> NDArray[np.float64]:
    """(count, 2) positions (x, y) with sub-pixel parts, drawn in proportion to `intensity_HW`; none where all is 0."""
    cumulative = np.cumsum(intensity_HW, dtype=np.float64)
    if count == 0 or cumulative[-1] <= 0:
        return np.zeros((0, 2))
    flat = np.searchsorted(cumulative, rng.uniform(0.0, cumulative[-1], count), side="right")
    rows, columns = np.divmod(np.minimum(flat, intensity_HW.size - 1), intensity_HW.shape[1])
    return np.stack([columns, rows], axis=1) + rng.uniform(-0.5, 0.5, (count, 2))


@dataclass
class _LayoutSampler:
    """The nuclei of one image while it is drawn."""

    rng: np.random.Generator
    layout: LayoutModel
    canvas: Canvas
    roughness: float
    nuclei: list[PlacedNucleus] = field(default_factory=list)
    _uses: NDArray[np.int32] = field(init=False)

    def __post_init__(self) -> None:
        self._uses = np.zeros(len(self.layout.areas), dtype=np.int32)

    def place_nucleus(self, positions_xy: NDArray[np.float64]) -> None:
        """Draw one nucleus at the first of the places that the overlap rule allows, or none."""
        for position in positions_xy:
            model = self._choose_model(position)
            area = float(self.layout.areas[model]) * float(np.exp(self.rng.normal(0.0, 0.12)))
            ratio = float(np.clip(self.layout.axis_ratios[model] * np.exp(self.rng.normal(0.0, 0.08)), 0.25, 1.0))
            angle = float(self.layout.angles[model] + self.rng.normal(0.0, 0.25))
            points_xy = self._contour(area, ratio, angle)
            touch = bool(self.nuclei) and self.rng.random() < 0.5 * self.layout.touching
            x, y = self._adjacent_position(position, points_xy) if touch else position
            if self.canvas.place(points_xy + np.array([x, y], dtype=np.float32)):
                self.nuclei.append(PlacedNucleus(self.canvas.count, float(x), float(y), area, angle, model))
                self._uses[model] += 1
                return

    def _contour(self, area: float, ratio: float, angle: float) -> NDArray[np.float32]:
        if self.layout.contour_power is None:
            return polygon_contour(self.rng, area, ratio, angle, self.roughness)
        return fourier_contour(self.rng, area, ratio, angle, self.layout.contour_power)

    def _choose_model(self, position: NDArray[np.float64]) -> int:
        """A reference nucleus near the place, among those that this image has used least."""
        column, row = np.clip(np.rint(position).astype(int), 0, self.canvas.size - 1)
        similar = self.layout.similar[self.layout.nearest[row, column]]
        uses = self._uses[similar]
        return int(self.rng.choice(similar[uses == uses.min()]))

    def _adjacent_position(self, position: NDArray[np.float64], points_xy: NDArray[np.float32]) -> NDArray[np.float64]:
        """Move the place so that the contour about touches the nucleus nearest to it."""
        centres = np.array([(n.x, n.y) for n in self.nuclei])
        gap = centres - position
        nearest = int(np.argmin((gap**2).sum(axis=1)))
        direction = float(np.arctan2(gap[nearest, 1], gap[nearest, 0])) + float(self.rng.normal(0.0, 0.3))
        radius = float(np.sqrt(self.nuclei[nearest].area / np.pi))
        distance = radius + extent_towards(points_xy, direction) + float(self.rng.uniform(-0.5, 1.5))
        adjacent: NDArray[np.float64] = centres[nearest] - distance * np.array([np.cos(direction), np.sin(direction)])
        return adjacent

"""A whole-slide image through a network, window by window, in memory that does not grow with the slide.

The slide is brought to the network's resolution and cut into windows, each seen with context around it. All windows share one
standardisation, fitted on samples of the slide's tissue, and windows without tissue are passed over. A nucleus on the border
of windows is counted once: a window leaves those whose centre lies in a later window to it, and drops those that an earlier
window has given already.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from nucleate.errors import InvalidImage
from nucleate.hovernet.inference import sliding_window
from nucleate.hovernet.postprocessing import hv_instances
from nucleate.hovernet.segmentation.image_segmentation import NetworkSegmenter
from nucleate.pathology.annotation_formats.geojson_writer import NucleusPolygon, nucleus_polygons
from nucleate.pathology.annotation_formats.polygons import Polygon, Polygons, rasterise
from nucleate.pathology.images.even_sampling import evenly_spaced
from nucleate.pathology.images.whole_slide import Slide, Window, tissue_windows
from nucleate.pathology.instances import magnification, typical_radius
from nucleate.pathology.instances.instance_map import Box
from nucleate.pathology.instances.nucleus_records import nucleus_records
from nucleate.pathology.stains import standardised_input
from nucleate.pathology.stains.standardised_input import StainStandardisation

_SAMPLE, _SAMPLES = 512, 16  # side in px of the network's resolution, and number
_MAX_SHARED = 0.5  # of a nucleus's pixels: more make it the same nucleus


@dataclass(frozen=True)
class SlideTiling:
    """Sides of the windows and of the context around them, px of the network's resolution."""

    window: int = 2048
    context: int = 128


@dataclass(frozen=True)
class _RegionTransform:
    """Between px of the slide and of a region: the region's corner in px of the slide, and its px per px of the slide."""

    x: int
    y: int
    scale_x: float
    scale_y: float

    def in_slide(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(points / (self.scale_x, self.scale_y) + (self.x, self.y))

    def in_region(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray((points - (self.x, self.y)) * (self.scale_x, self.scale_y))

    def box_of(self, window: Window) -> Box:
        corners = np.array([[window.x, window.y], [window.x + window.width, window.y + window.height]], np.float64)
        (left, top), (right, bottom) = np.rint(self.in_region(corners)).astype(int).tolist()
        return np.s_[top:bottom, left:right]


class SlideSegmenter:
    """One slide and the network that goes over it."""

    def __init__(self, slide: Slide, segmenter: NetworkSegmenter, microns: float, cut: SlideTiling | None = None) -> None:
        """`microns` is the side of the slide's pixels in um."""
        self._slide = slide
        self._segmenter = segmenter
        self._tiling = cut or SlideTiling()
        self.microns = microns
        self._scale = microns / magnification.MICRONS_PER_PIXEL_40X
        self.windows = tissue_windows(slide, self._side)
        self._order = {(window.row, window.column): number for number, window in enumerate(self.windows)}
        self._standardisation, self.typical_radius = self._fit_standardisation()

    def neighbours(self, window: Window) -> list[int]:
        """Numbers of the earlier windows that share a border or a corner with `window`."""
        around = [(-1, -1), (-1, 0), (-1, 1), (0, -1)]
        places = [(window.row + down, window.column + across) for down, across in around]
        return [self._order[place] for place in places if place in self._order]

    def segment(
        self, window: Window, earlier: Sequence[NDArray[np.float64]], on_tile: Callable[[], None] = lambda: None
    ) -> list[NucleusPolygon]:
        """The window's own nuclei, px of the slide.

        Args:
            window: one of `windows`.
            earlier: rings of the nuclei of `neighbours`.
            on_tile: called before every pass of the network.
        """
        framed = self._with_context(window)
        rgb = self._slide.region(framed.x, framed.y, framed.width, framed.height, self._scale)
        if min(rgb.shape[:2]) < sliding_window.MIN_SIDE:
            raise InvalidImage(
                f"{self._slide.name} is {self._slide.width} x {self._slide.height} px: too small at this resolution"
            )
        transform = _RegionTransform(framed.x, framed.y, rgb.shape[1] / framed.width, rgb.shape[0] / framed.height)
        profile = self._segmenter.profile
        prediction = sliding_window.predict(self._segmenter.net, self._standardisation.planes(rgb), profile.tiling, on_tile)
        instances = hv_instances.instances(prediction.nuclear, prediction.hv, profile.post)
        assigned = _polygon_mask([transform.in_region(ring) for ring in earlier], instances.shape)
        share, touching = _covered_shares(instances, assigned), np.unique(instances[transform.box_of(window)])
        own = [
            nucleus
            for nucleus in nucleus_records(instances, prediction.nuclear, prediction.types)
            if share[nucleus.label] <= _MAX_SHARED
            and nucleus.label in touching
            and not self._in_later_window(transform.in_slide(np.array(nucleus.centroid) + 0.5), window)
        ]
        instances[assigned] = 0
        return [replace(each, ring=transform.in_slide(each.ring)) for each in nucleus_polygons(instances, own)]

    def _in_later_window(self, point: NDArray[np.float64], window: Window) -> bool:
        """Whether a point of the slide lies in a window that comes after `window`."""
        x, y = point.tolist()
        number = self._order.get((int(y // self._side), int(x // self._side)), -1)
        return number > self._order[window.row, window.column]

    @property
    def _side(self) -> int:
        """Of a window, px of the slide."""
        return max(1, round(self._tiling.window / self._scale))

    def _with_context(self, window: Window) -> Window:
        frame = round(self._tiling.context / self._scale)
        x, y = max(0, window.x - frame), max(0, window.y - frame)
        right, bottom = window.x + window.width + frame, window.y + window.height + frame
        return replace(window, x=x, y=y, width=min(self._slide.width, right) - x, height=min(self._slide.height, bottom) - y)

    def _fit_standardisation(self) -> tuple[StainStandardisation, float]:
        """The slide's standardisation, and the typical radius of its nuclei in px of the network's resolution."""
        spread = evenly_spaced(len(self.windows), _SAMPLES)
        per_window = -(-_SAMPLES // len(spread))
        samples = [part for number in spread for part in self._sample_regions(self.windows[number], per_window)]
        fitted = standardised_input.fit(np.vstack(samples))
        radii = [typical_radius.typical_radius(standardised_input.haematoxylin_margin(fitted.planes(part))) for part in samples]
        return fitted, float(np.median(radii))

    def _sample_regions(self, window: Window, count: int) -> Iterator[NDArray[np.uint8]]:
        """Squares of one size along a window's diagonals, at the network's resolution."""
        side = min(round(_SAMPLE / self._scale), self._slide.width, self._slide.height)
        for number in range(count):
            share = (number + 1) / (count + 1)
            x = window.x + round((window.width - side) * share)
            y = window.y + round((window.height - side) * (share if number % 2 else 1 - share))
            x, y = (min(max(0, edge), whole - side) for edge, whole in ((x, self._slide.width), (y, self._slide.height)))
            yield self._slide.region(x, y, side, side, self._scale)


def _covered_shares(instances_HW: NDArray[np.int32], mask_HW: NDArray[np.bool_]) -> NDArray[np.float64]:
    """By label: the share of its pixels that lie in the mask."""
    size = np.bincount(instances_HW.ravel())
    return np.asarray(np.bincount(instances_HW[mask_HW], minlength=size.size) / np.maximum(size, 1))


def _polygon_mask(rings: Sequence[NDArray[np.float64]], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Pixels of an image that lie in any of the rings; those wholly outside do not matter."""
    height, width = shape
    inside = [ring for ring in rings if (ring.max(0) > 0).all() and (ring.min(0) < (width, height)).all()]
    polygons = Polygons(tuple(Polygon((ring,)) for ring in inside))
    return rasterise(polygons, (height, width), "the windows before").instances > 0


def draw_polygons(picture_HW3: NDArray[np.uint8], rings: Sequence[NDArray[np.float64]], ratio: float) -> None:
    """Draw nuclei on a picture of the slide, of which one px is 1 / `ratio` px of the slide."""
    points = [np.round(ring * ratio * 16).astype(np.int32) for ring in rings]
    cv2.polylines(picture_HW3, points, isClosed=True, color=(20, 220, 60), thickness=1, lineType=cv2.LINE_AA, shift=4)

"""A whole-slide image through a network, window by window, in memory that does not grow with the slide.

The slide is brought to the network's resolution and cut into windows, each seen with a frame of context. All windows share one
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
from nucleate.hovernet.segmentation.image_segmentation import Trained
from nucleate.pathology.annotation_formats.geojson_writer import NucleusPolygon, nucleus_polygons
from nucleate.pathology.annotation_formats.polygons import Polygon, Polygons, rasterise
from nucleate.pathology.images.whole_slide import Slide, Window, tissue_windows
from nucleate.pathology.instances import magnification, typical_radius
from nucleate.pathology.instances.instance_map import Box
from nucleate.pathology.instances.nucleus_records import nucleus_records
from nucleate.pathology.stains import standardised_input
from nucleate.pathology.stains.standardised_input import StainStandardisation

_SAMPLE, _SAMPLES = 512, 16  # side in px of the network's resolution, and number
_TAKEN = 0.5  # of a nucleus's pixels: more make it the same nucleus


@dataclass(frozen=True)
class Cut:
    """Sides of windows and of the frame around them, px of the network's resolution."""

    window: int = 2048
    frame: int = 128


@dataclass(frozen=True)
class _Place:
    """Where a region lies: its corner in px of the slide, and its px per px of the slide."""

    x: int
    y: int
    across: float
    down: float

    def in_slide(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(points / (self.across, self.down) + (self.x, self.y))

    def in_region(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray((points - (self.x, self.y)) * (self.across, self.down))

    def box_of(self, window: Window) -> Box:
        corners = np.array([[window.x, window.y], [window.x + window.width, window.y + window.height]], np.float64)
        (left, top), (right, bottom) = np.rint(self.in_region(corners)).astype(int).tolist()
        return np.s_[top:bottom, left:right]


class SlideSegmenter:
    """One slide and the network that goes over it."""

    def __init__(self, slide: Slide, segmenter: Trained, microns: float, cut: Cut | None = None) -> None:
        """`microns` is the side of the slide's pixels in um."""
        self._slide = slide
        self._segmenter = segmenter
        self._cut = cut or Cut()
        self.microns = microns
        self._scale = microns / magnification.MICRONS_PER_PIXEL_40X
        self.windows = tissue_windows(slide, self._side)
        self._order = {(window.row, window.column): number for number, window in enumerate(self.windows)}
        self._appearance, self.typical_radius = self._look()

    def neighbours(self, window: Window) -> list[int]:
        """Numbers of the earlier windows that share a border or a corner with `window`."""
        around = [(-1, -1), (-1, 0), (-1, 1), (0, -1)]
        places = [(window.row + down, window.column + across) for down, across in around]
        return [self._order[place] for place in places if place in self._order]

    def segment(
        self, window: Window, earlier: Sequence[NDArray[np.float64]], each_tile: Callable[[], None] = lambda: None
    ) -> list[NucleusPolygon]:
        """The window's own nuclei, px of the slide.

        Args:
            window: one of `windows`.
            earlier: rings of the nuclei of `neighbours`.
            each_tile: called before every pass of the network.
        """
        framed = self._framed(window)
        rgb = self._slide.region(framed.x, framed.y, framed.width, framed.height, self._scale)
        if min(rgb.shape[:2]) < sliding_window.MIN_SIDE:
            raise InvalidImage(
                f"{self._slide.name} is {self._slide.width} x {self._slide.height} px: too small at this resolution"
            )
        place = _Place(framed.x, framed.y, rgb.shape[1] / framed.width, rgb.shape[0] / framed.height)
        how = self._segmenter.profile
        seen = sliding_window.predict(self._segmenter.net, rgb, how.tiling, each_tile, self._appearance)
        instances = hv_instances.instances(seen.nuclear, seen.hv, how.post)
        taken = _drawn([place.in_region(ring) for ring in earlier], instances.shape)
        share, touching = _shares(instances, taken), np.unique(instances[place.box_of(window)])
        own = [
            nucleus
            for nucleus in nucleus_records(instances, seen.nuclear, seen.types)
            if share[nucleus.label] <= _TAKEN
            and nucleus.label in touching
            and not self._later(place.in_slide(np.array(nucleus.centroid) + 0.5), window)
        ]
        instances[taken] = 0
        return [replace(each, ring=place.in_slide(each.ring)) for each in nucleus_polygons(instances, own)]

    def _later(self, point: NDArray[np.float64], window: Window) -> bool:
        """Whether a point of the slide lies in a window that comes after `window`."""
        x, y = point.tolist()
        number = self._order.get((int(y // self._side), int(x // self._side)), -1)
        return number > self._order[window.row, window.column]

    @property
    def _side(self) -> int:
        """Of a window, px of the slide."""
        return max(1, round(self._cut.window / self._scale))

    def _framed(self, window: Window) -> Window:
        frame = round(self._cut.frame / self._scale)
        x, y = max(0, window.x - frame), max(0, window.y - frame)
        right, bottom = window.x + window.width + frame, window.y + window.height + frame
        return replace(window, x=x, y=y, width=min(self._slide.width, right) - x, height=min(self._slide.height, bottom) - y)

    def _look(self) -> tuple[StainStandardisation, float]:
        """The slide's standardisation, and the typical radius of its nuclei in px of the network's resolution."""
        spread = np.unique(np.linspace(0, len(self.windows) - 1, _SAMPLES).round().astype(int))
        per_window = -(-_SAMPLES // len(spread))
        samples = [part for number in spread for part in self._samples(self.windows[number], per_window)]
        fitted = standardised_input.fit(np.vstack(samples))
        radii = [typical_radius.typical_radius(standardised_input.haematoxylin_margin(fitted.planes(part))) for part in samples]
        return fitted, float(np.median(radii))

    def _samples(self, window: Window, count: int) -> Iterator[NDArray[np.uint8]]:
        """Squares of one size along a window's diagonals, at the network's resolution."""
        side = min(round(_SAMPLE / self._scale), self._slide.width, self._slide.height)
        for number in range(count):
            share = (number + 1) / (count + 1)
            x = window.x + round((window.width - side) * share)
            y = window.y + round((window.height - side) * (share if number % 2 else 1 - share))
            x, y = (min(max(0, edge), whole - side) for edge, whole in ((x, self._slide.width), (y, self._slide.height)))
            yield self._slide.region(x, y, side, side, self._scale)


def _shares(instances_HW: NDArray[np.int32], mask_HW: NDArray[np.bool_]) -> NDArray[np.float64]:
    """By label: the share of its pixels that lie in the mask."""
    size = np.bincount(instances_HW.ravel())
    return np.asarray(np.bincount(instances_HW[mask_HW], minlength=size.size) / np.maximum(size, 1))


def _drawn(rings: Sequence[NDArray[np.float64]], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Pixels of an image that lie in any of the rings; those wholly outside do not matter."""
    height, width = shape
    inside = [ring for ring in rings if (ring.max(0) > 0).all() and (ring.min(0) < (width, height)).all()]
    drawn = Polygons(tuple(Polygon((ring,)) for ring in inside))
    return rasterise(drawn, (height, width), "the windows before").instances > 0


def draw(picture_HW3: NDArray[np.uint8], rings: Sequence[NDArray[np.float64]], ratio: float) -> None:
    """Draw nuclei on a picture of the slide, of which one px is 1 / `ratio` px of the slide."""
    points = [np.round(ring * ratio * 16).astype(np.int32) for ring in rings]
    cv2.polylines(picture_HW3, points, isClosed=True, color=(20, 220, 60), thickness=1, lineType=cv2.LINE_AA, shift=4)

"""A slide from the store through a network and back: a file on disk in between, tiles of polygons stored as they come."""

from __future__ import annotations

import contextlib
import functools
import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nucleate.errors import InvalidImage
from nucleate.hovernet.segmentation import slide_segmentation
from nucleate.hovernet.segmentation.slide_segmentation import SlideSegmenter
from nucleate.pathology.annotation_formats import geojson_writer
from nucleate.pathology.images.codec import encode_png
from nucleate.pathology.images.whole_slide import Slide, Window
from nucleate.pathology.instances import magnification
from nucleate.runtime.blobs import Blobs
from nucleate.runtime.jobs import Job
from nucleate.v1 import common_pb2
from nucleate.v1 import hovernet_pb2 as pb

_OVERVIEW = 2048


@contextlib.contextmanager
def opened(request: pb.SegmentSlideRequest, blobs: Blobs) -> Iterator[tuple[Slide, float]]:
    """The slide as a temporary file, and the side of its pixels in um.

    Raises:
        InvalidImage: it cannot be read, or nobody knows the size of its pixels.
        InvalidInput: the size that the request gives is none.
    """
    name = f"slide '{request.slide.id}'"
    with tempfile.TemporaryDirectory(prefix="nucleate-slide-") as folder:
        path = Path(folder, "slide")
        blobs.get_file(request.slide.data, path)
        with contextlib.closing(Slide(path, name)) as slide:
            microns = request.microns_per_pixel or slide.microns
            if microns is None:
                raise InvalidImage(f"{name} does not tell the size of its pixels: give microns per pixel (40x: 0.25, 20x: 0.5)")
            magnification.scale_to_40x(microns, name)
            yield slide, microns


def segment(slide: Slide, segmenter: SlideSegmenter, classes: Sequence[str], blobs: Blobs, job: Job) -> pb.SegmentSlideResult:
    """All windows, from the one that an earlier attempt has come to; every tile is stored, told of and kept at once."""
    result = pb.SegmentSlideResult.FromString(job.restored() or b"")
    for tile in result.tiles:
        job.part(tile)
    total = len(segmenter.windows)
    for number, window in enumerate(segmenter.windows[len(result.tiles) :], start=len(result.tiles)):
        _report_progress(job, number, total, result.nuclei)
        earlier = [ring for near in segmenter.neighbours(window) for ring in _rings(result.tiles[near], blobs)]
        found = segmenter.segment(window, earlier, functools.partial(_report_progress, job, number, total, result.nuclei))
        tile = _message(window, len(found), geojson_writer.feature_collection(found, classes), blobs)
        result.tiles.append(tile)
        result.nuclei += len(found)
        job.checkpoint(result.SerializeToString())
        job.part(tile)
    _report_progress(job, total, total, result.nuclei)
    result.microns_per_pixel = segmenter.microns
    result.warning = magnification.magnification_warning([segmenter.typical_radius])
    result.overview.CopyFrom(_overview(slide, result.tiles, blobs))
    return result


def _report_progress(job: Job, done: int, total: int, nuclei: int) -> None:
    job.progress(done, total, "segmenting the slide", nuclei=float(nuclei))


def _message(window: Window, count: int, outlines: bytes, blobs: Blobs) -> pb.SlideTile:
    return pb.SlideTile(
        window=common_pb2.Window(x=window.x, y=window.y, width=window.width, height=window.height),
        nuclei=count,
        outlines=blobs.put(outlines, "application/geo+json"),
    )


def _rings(tile: pb.SlideTile, blobs: Blobs) -> list[NDArray[np.float64]]:
    """The polygons of a tile, px of the slide."""
    features = json.loads(blobs.get(tile.outlines))["features"]
    return [np.asarray(feature["geometry"]["coordinates"][0][:-1], np.float64) for feature in features]


def _overview(slide: Slide, tiles: Sequence[pb.SlideTile], blobs: Blobs) -> common_pb2.Blob:
    picture = slide.overview(_OVERVIEW)
    ratio = picture.shape[1] / slide.width
    for tile in tiles:
        slide_segmentation.draw_polygons(picture, _rings(tile, blobs), ratio)
    return blobs.put(encode_png(picture), "image/png", dtype="uint8", shape=picture.shape)

"""Segmentation of images and slides over the wire."""

from __future__ import annotations

import io
import json

import cv2
import numpy as np
import pytest
import tifffile
from tests.contract.hovernet.service_bench import Bench
from tests.unit.hovernet.tissue import draw

from nucleate import errors
from nucleate.pathology.images.codec import decode_image, decode_instances, decode_mask, encode_png
from nucleate.pathology.metrics import dice_aji_pq
from nucleate.runtime.channels import follow
from nucleate.v1 import common_pb2 as common
from nucleate.v1 import hovernet_pb2 as pb


def test_segment_finds_nuclei_with_overlay_and_ignore_mask(bench: Bench, model: common.Model) -> None:
    request = pb.SegmentRequest(job_id="seg-1", images=bench.images, model=model, overlays=True, ignore_masks=True)
    for image, segmented in zip(bench.images, bench.result("Segment", request).images, strict=True):
        instances = decode_instances(bench.blobs.get(segmented.instances), "map")
        assert (segmented.id, instances.shape, instances.max()) == (image.id, (96, 96), segmented.nuclei)
        assert decode_image(bench.blobs.get(segmented.overlay), "overlay").shape == (96, 96, 3)
        assert decode_mask(bench.blobs.get(segmented.ignore), "ignore").shape == (96, 96)


def test_a_small_image_goes_and_comes_inline(bench: Bench, model: common.Model) -> None:
    inline = common.Image(id="slide-5", inline=bench.blobs.get(bench.images[0].data))
    kept, sent = (
        bench.result("Segment", pb.SegmentRequest(job_id=f"inline-{n}", images=[image], model=model, outlines=True)).images[0]
        for n, image in enumerate((bench.images[0], inline))
    )
    assert (sent.instances, kept.inline_instances) == (kept.instances, b"")
    assert sent.inline_instances == bench.blobs.get(kept.instances)
    nuclei = json.loads(bench.blobs.get(sent.outlines))["features"]
    assert len(nuclei) == sent.nuclei
    both = common.Image(id="both", inline=inline.inline, data=bench.images[0].data)
    with pytest.raises(errors.InvalidInput, match="'both' has bytes inline and a blob"):
        bench.result("Segment", pb.SegmentRequest(job_id="inline-both", images=[both], model=model))
    huge = common.Image(id="huge", inline=bytes(2 * 1024 * 1024 + 1))
    with pytest.raises(errors.TooLarge, match="huge"):
        bench.result("Segment", pb.SegmentRequest(job_id="inline-huge", images=[huge], model=model))


def test_pixels_of_another_size_are_brought_to_40x_and_back(bench: Bench) -> None:
    image, truth = draw(192, 40, 7)
    half = cv2.resize(image, (96, 96), interpolation=cv2.INTER_AREA)
    scores = []
    for microns in (0.0, 0.5):
        stored = common.Image(id="20x", data=bench.blobs.put(encode_png(half), "image/png"))
        request = pb.SegmentRequest(job_id=f"microns-{microns}", images=[stored], classical={}, microns_per_pixel=microns)
        segmented = bench.result("Segment", request).images[0]
        found = decode_instances(bench.blobs.get(segmented.instances), "map")
        assert found.shape == (96, 96)
        scores.append(dice_aji_pq.score(truth[::2, ::2], found).pq)
    assert scores[1] > max(scores[0], 0.7)


def test_a_slide_comes_back_by_tiles(bench: Bench, model: common.Model) -> None:
    file = io.BytesIO()
    picture = np.tile(draw(256, 40, 8)[0], (3, 9, 1))
    tifffile.imwrite(file, picture, photometric="rgb", tile=(128, 128))
    slide = common.Image(id="S1", data=bench.blobs.put(file.getvalue(), "image/tiff"))
    request = pb.SegmentSlideRequest(job_id="slide", slide=slide, model=model, microns_per_pixel=0.25)
    events = list(follow(bench.stub.SegmentSlide, request, timeout=240))
    tiles, result = [event.part for event in events if event.WhichOneof("event") == "part"], events[-1].result
    assert [(tile.window.x, tile.window.width) for tile in result.tiles] == [(0, 2048), (2048, 256)]
    assert list(result.tiles) == tiles
    counts = [len(json.loads(bench.blobs.get(tile.outlines))["features"]) for tile in result.tiles]
    assert [tile.nuclei for tile in result.tiles] == counts
    assert (sum(counts), result.microns_per_pixel) == (result.nuclei, 0.25)
    assert decode_image(bench.blobs.get(result.overview), "overview").shape == (683, 2048, 3)
    (again,) = follow(bench.stub.SegmentSlide, request, timeout=60)
    assert again.result == result
    for change, error, words in (
        ({"microns_per_pixel": 0.0}, errors.InvalidImage, "'S1' does not tell the size of its pixels"),
        ({"microns_per_pixel": 9.0}, errors.InvalidInput, "pixels of 9 um"),
        ({"slide": bench.images[0]}, errors.InvalidImage, "'slide-5' is no slide"),
        ({"model": common.Model(kind="refiner")}, errors.InvalidModel, "refiner"),
    ):
        fields = {"slide": slide, "model": model, "microns_per_pixel": 0.25} | change
        with pytest.raises(error, match=words):
            bench.result("SegmentSlide", pb.SegmentSlideRequest(job_id=f"slide-{words.split()[-1]}", **fields))


def test_more_views_are_averaged_where_asked_for(bench: Bench, model: common.Model) -> None:
    found = [
        bench.result("Segment", pb.SegmentRequest(job_id=f"views-{n}", images=bench.images, model=model, views=n)).images
        for n in (0, 1, 8)
    ]
    assert found[0] == found[1]  # the profile `tiny` looks once
    assert found[2] != found[1]

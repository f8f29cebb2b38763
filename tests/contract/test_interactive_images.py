"""PutImage: images in chunks, checked before they are stored."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator

import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow
from tests.contract.interactive_bench import SIZE, click_request
from tests.unit.interactive.nuclei import draw_nuclei

from nucleate import errors
from nucleate.pathology.images.codec import encode_png
from nucleate.runtime.channels import call
from nucleate.v1 import interactive_pb2 as pb

MIB = 1 << 20


def chunks(data: bytes, name: str = "slide", size: int = 10_000) -> Iterator[pb.PutImageRequest]:
    for start in range(0, max(len(data), 1), size):
        yield pb.PutImageRequest(id="" if start else name, chunk=data[start : start + size])


def put(bench, data: bytes, **how: object) -> pb.PutImageResponse:
    return call(bench.stubs[0].PutImage, chunks(data, **how))


def header_only(width: int, height: int) -> bytes:
    """A PNG that says it is large and holds next to nothing."""
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(bytes(64))),
        (b"IEND", b""),
    ]
    body = [struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts]
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


def tiff(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, photometric="rgb")
    return buffer.getvalue()


def pillow(rgb: np.ndarray, kind: str) -> bytes:
    buffer = io.BytesIO()
    Pillow.fromarray(rgb).save(buffer, kind)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def rgb() -> np.ndarray:
    return draw_nuclei(SIZE, 9, 5)[0]


def test_an_image_is_stored_as_it_came_and_opens_a_session(bench, rgb):
    data = encode_png(rgb)
    answer = put(bench, data)
    assert (answer.image.id, answer.height, answer.width) == ("slide", SIZE, SIZE)
    assert answer.image.data.media_type == "image/png"
    assert bench.blobs.get(answer.image.data) == data
    assert put(bench, data, size=MIB).image == answer.image
    session = bench.open(image=answer.image)
    assert call(bench.stubs[0].Click, click_request(session.session_id, 1, 40, 40)).clicks_obeyed


@pytest.mark.parametrize(("kind", "media_type"), [("JPEG", "image/jpeg"), ("WEBP", "image/webp"), ("TIFF", "image/tiff")])
def test_the_other_formats(bench, rgb, kind, media_type):
    answer = put(bench, pillow(rgb, kind))
    assert answer.image.data.media_type == media_type


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda _: b"", errors.InvalidImage, "is empty"),
        (lambda _: b"no image at all", errors.InvalidImage, "is not a PNG"),
        (lambda _: header_only(20_000, 20_000), errors.TooLarge, "20000 x 20000 px, over 100 megapixels"),
        (lambda _: header_only(0, 0), errors.InvalidImage, "slide"),
        (lambda _: header_only(64, 16), errors.InvalidImage, "at least 32 px"),
        (lambda rgb: encode_png(rgb)[:-200], errors.InvalidImage, "damaged or cut short"),
        (lambda rgb: tiff(rgb.astype(np.float32) / 255), errors.InvalidImage, "float32"),
        (lambda rgb: tiff(rgb.astype(np.uint16)), errors.InvalidImage, "16-bit and reaches only level"),
        (lambda rgb: pillow(rgb[..., 0], "PNG"), errors.InvalidImage, "greyscale"),
    ],
)
def test_what_is_no_image_of_tissue_is_refused_and_not_stored(bench, rgb, make, error, message):
    data, before = make(rgb), set(bench.servers[0].context.store.list("sha256/"))
    with pytest.raises(error, match=message):
        put(bench, data)
    assert set(bench.servers[0].context.store.list("sha256/")) == before
    if data:
        image = bench.image()[0]
        image.data.CopyFrom(bench.blobs.put(data, "image/png"))
        with pytest.raises(error):
            bench.open(image=image)


@pytest.mark.parametrize(
    ("requests", "message"),
    [
        ([], "no message came"),
        ([pb.PutImageRequest(chunk=b"x")], "must have an id"),
        ([pb.PutImageRequest(id="x" * 300)], "1 to 256 characters"),
        ([pb.PutImageRequest(id="x", chunk=bytes(MIB + 1))], "at most 1048576"),
    ],
)
def test_bad_messages_are_refused(bench, requests, message):
    with pytest.raises(errors.InvalidInput, match=message):
        call(bench.stubs[0].PutImage, iter(requests))


def test_size_is_limited_for_one_image_and_for_all_at_once(bench):
    with bench.replica(image_bytes=50_000, upload_bytes=20_000) as stub:
        with pytest.raises(errors.Overloaded, match="send it again later") as refusal:
            call(stub.PutImage, chunks(bytes(30_000)))
        assert refusal.value.retry_after > 0
        with pytest.raises(errors.InvalidImage):  # what was refused has given its share back
            call(stub.PutImage, chunks(bytes(20_000)))
        with pytest.raises(errors.TooLarge, match="more than 50000 bytes"):
            call(stub.PutImage, chunks(bytes(60_000), size=60_000))


def test_an_upload_that_breaks_off_stores_nothing(bench, rgb):
    before = set(bench.servers[0].context.store.list("sha256/"))
    started = []

    def endless() -> Iterator[pb.PutImageRequest]:
        for request in chunks(encode_png(rgb), size=4096):
            yield request
            started.append(request)
        while not under_way.done():
            yield pb.PutImageRequest()

    under_way = bench.stubs[0].PutImage.future(endless())
    while not started:
        pass
    under_way.cancel()
    assert set(bench.servers[0].context.store.list("sha256/")) == before

"""Types and sizes from headers, PNG out, instance maps in; damaged files are told by name."""

from __future__ import annotations

import io
import random
import struct
import zlib
from array import array

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from nucleate.client.files.image_files import encode_instance_map, encode_png, image_size, media_type, read_instance_map
from nucleate.errors import InvalidMask

FORMATS = {"PNG": "image/png", "TIFF": "image/tiff", "JPEG": "image/jpeg", "WEBP": "image/webp"}


def encoded(kind: str, size: tuple[int, int], **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (200, 120, 180)).save(buffer, kind, **options)
    return buffer.getvalue()


@settings(max_examples=40, deadline=None)
@given(kind=st.sampled_from(sorted(FORMATS)), width=st.integers(1, 300), height=st.integers(1, 300))
def test_size_and_type_of_every_format(kind: str, width: int, height: int):
    data = encoded(kind, (width, height))
    assert media_type(data) == FORMATS[kind]
    assert image_size(data) == (width, height)


@pytest.mark.parametrize("options", [{"lossless": True}, {"exif": Image.Exif()}, {"quality": 30}])
def test_webp_chunks(options: dict[str, object]):
    assert image_size(encoded("WEBP", (317, 41), **options)) == (317, 41)


def test_webp_with_alpha_is_an_extended_file():
    buffer = io.BytesIO()
    Image.new("RGBA", (70, 50), (1, 2, 3, 4)).save(buffer, "WEBP")
    assert image_size(buffer.getvalue()) == (70, 50)


def test_jpeg_progressive_with_comment():
    assert image_size(encoded("JPEG", (33, 65), progressive=True, comment=b"x" * 500)) == (33, 65)


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_tiff_byte_orders_and_bigtiff(big: bool, order: str):
    import numpy as np
    import tifffile

    buffer = io.BytesIO()
    tifffile.imwrite(buffer, np.zeros((21, 34), np.uint16), bigtiff=big, byteorder=order)
    assert image_size(buffer.getvalue()) == (34, 21)


@pytest.mark.parametrize(("dtype", "options"), [("uint16", {"photometric": "rgb"}), ("uint64", {}), ("float64", {})])
def test_tiff_of_any_pixel_type(dtype: str, options: dict[str, object]):
    import numpy as np
    import tifffile

    buffer = io.BytesIO()
    tifffile.imwrite(buffer, np.zeros((21, 34, 3)[: 2 + len(options)], dtype), compression="zlib", **options)
    assert image_size(buffer.getvalue()) == (34, 21)


def test_size_of_an_image_beyond_pillows_own_limit(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    for kind in ("PNG", "JPEG", "TIFF"):
        assert image_size(encoded(kind, (64, 48))) == (64, 48)
    assert image_size(encoded("WEBP", (40, 40))) == (40, 40)
    labels = array("H", range(2500))
    assert read_instance_map(encode_instance_map(50, 50, labels), "mask").labels == labels


@settings(max_examples=200, deadline=None)
@given(kind=st.sampled_from(sorted(FORMATS)), cut=st.integers(0, 80), junk=st.binary(max_size=40))
def test_damaged_headers_tell_nothing_or_a_size(kind: str, cut: int, junk: bytes):
    size = image_size(encoded(kind, (64, 48))[:cut] + junk)
    assert size is None or len(size) == 2


@pytest.mark.parametrize("data", [b"", b"hello", b"GIF89a" + bytes(20)])
def test_other_bytes_are_no_image(data: bytes):
    assert media_type(data) is None
    assert image_size(data) is None


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("RGB", 3), ("RGBA", 4)])
@pytest.mark.parametrize("level", [1, 6])
def test_png_of_pixels(mode: str, channels: int, level: int):
    pixels = random.Random(level).randbytes(7 * 5 * channels)
    image = Image.open(io.BytesIO(encode_png(7, 5, pixels, mode=mode, level=level)))
    assert (image.mode, image.size, image.tobytes()) == (mode, (7, 5), pixels)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 24), st.integers(1, 24), st.integers(0, 2**32 - 1), st.sampled_from(["L", "I;16"]))
def test_instance_maps_of_both_depths(width: int, height: int, seed: int, mode: str):
    chance = random.Random(seed)
    top = 255 if mode == "L" else 65535
    # Smooth rows make the encoder use its predictive filters.
    labels = [min(top, x * 3 + y * 5 + chance.choice([0, 0, 0, top // 2])) for y in range(height) for x in range(width)]
    file = io.BytesIO()
    raw = b"".join(label.to_bytes(1 if mode == "L" else 2, "little") for label in labels)
    Image.frombytes(mode, (width, height), raw).save(file, "PNG", optimize=True)
    found = read_instance_map(file.getvalue(), "mask")
    assert (found.width, found.height, list(found.labels)) == (width, height, labels)
    assert found.nuclei == len(set(labels) - {0})
    again = read_instance_map(encode_instance_map(width, height, array("i", labels)), "mask")
    assert list(again.labels) == labels


def grey_png(
    width: int = 2, height: int = 2, *, depth: int = 8, colour: int = 0, interlace: int = 0, raw: bytes = b""
) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(raw or b"\0\1\2" * 2)), (b"IEND", b"")]
    chunks = [struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in parts]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"GIF89a", "is not a PNG"),
        (grey_png()[:40], "is a damaged PNG"),
        (grey_png()[:-28], "is a damaged PNG"),
        (grey_png().replace(b"IDAT", b"IDOT"), "is a damaged PNG"),
        (grey_png(raw=b"\0\1\2\0\1"), "is a damaged PNG"),
        (grey_png(raw=b"\7\1\2" * 2), "is a damaged PNG"),
        (grey_png(0, 0), "is a damaged PNG"),
        (grey_png(4097, 4096), "is 4097x4096: an instance map has 1 to 16777216 pixels"),
        (grey_png(colour=2), "is not a plain grey PNG"),
        (grey_png(depth=4), "is not a plain grey PNG"),
        (grey_png(depth=1), "is not a plain grey PNG"),
        (grey_png(1, 1, interlace=1), "is not a plain grey PNG"),
    ],
)
def test_what_is_no_instance_map_is_refused_by_name(data: bytes, why: str):
    with pytest.raises(InvalidMask, match=f"^my mask {why}"):
        read_instance_map(data, "my mask")

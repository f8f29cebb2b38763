"""Sizes from headers agree with an image library's, and damaged headers are no exception."""

from __future__ import annotations

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from nucleate.client.files.image_headers import image_size, media_type

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


@settings(max_examples=200, deadline=None)
@given(kind=st.sampled_from(sorted(FORMATS)), cut=st.integers(0, 80), junk=st.binary(max_size=40))
def test_damaged_headers_tell_nothing_or_a_size(kind: str, cut: int, junk: bytes):
    size = image_size(encoded(kind, (64, 48))[:cut] + junk)
    assert size is None or len(size) == 2


@pytest.mark.parametrize("data", [b"", b"hello", b"GIF89a" + bytes(20)])
def test_other_bytes_are_no_image(data: bytes):
    assert media_type(data) is None
    assert image_size(data) is None

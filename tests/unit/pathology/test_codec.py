from __future__ import annotations

import io
import struct
import zlib
from contextlib import suppress

import cv2
import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image
from tests.paths import SHARED_DATA, needs_data

from nucleate.errors import InvalidImage, InvalidInput, InvalidMask, TooLarge
from nucleate.pathology.images import codec

RGB = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
SMOOTH = cv2.GaussianBlur(RGB, (0, 0), 4)


def pillow(pixels, form="PNG", **options):
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def tiff(pixels, **options):
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, **options)
    return buffer.getvalue()


def pyramid(pixels):
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        writer.write(pixels, photometric="rgb", subifds=1)
        writer.write(np.ascontiguousarray(pixels[::2, ::2]), photometric="rgb", subfiletype=1)
    return buffer.getvalue()


def png_claiming(width, height):
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 100)), (b"IEND", b"")]
    body = b"".join(struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d)) for t, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + body


def tiff_claiming(width, height):
    data = bytearray(tiff(RGB, photometric="rgb"))
    for tag, value in ((256, width), (257, height)):
        at = data.index(struct.pack("<HHI", tag, 4, 1)) if struct.pack("<HHI", tag, 4, 1) in data else None
        if at is None:
            at = data.index(struct.pack("<HHI", tag, 3, 1))
            struct.pack_into("<HHII", data, at, tag, 4, 1, value)
        else:
            struct.pack_into("<I", data, at + 8, value)
    return bytes(data)


LOSSLESS = {
    "png": pillow(RGB),
    "webp": pillow(RGB, "WEBP", lossless=True),
    "tiff": tiff(RGB, photometric="rgb"),
    "tiff big-endian": tiff(RGB, photometric="rgb", byteorder=">"),
    "tiff big": tiff(RGB, photometric="rgb", bigtiff=True),
    "tiff lzw": tiff(RGB, photometric="rgb", compression="lzw", predictor=True),
    "tiff deflate": tiff(RGB, photometric="rgb", compression="zlib"),
    "tiff tiled": tiff(RGB, photometric="rgb", tile=(16, 32), compression="zstd"),
    "tiff planar": tiff(np.moveaxis(RGB, 2, 0), photometric="rgb", planarconfig="separate"),
    "tiff pyramid": pyramid(RGB),
    "png 16": imagecodecs.png_encode(RGB.astype(np.uint16) * 257),
    "tiff 16": tiff(RGB.astype(np.uint16) * 257, photometric="rgb"),
    "png opaque": pillow(np.dstack([RGB, np.full((40, 50), 255, np.uint8)])),
}


@pytest.mark.parametrize("form", LOSSLESS)
def test_lossless_forms_give_the_stored_pixels(form):
    decoded = codec.decode_image(LOSSLESS[form], "a")
    assert decoded.dtype == np.uint8
    assert decoded.flags.c_contiguous
    np.testing.assert_array_equal(decoded, RGB)


@pytest.mark.parametrize("data", [pillow(SMOOTH, "JPEG", quality=95), tiff(SMOOTH, compression="jpeg", photometric="rgb")])
def test_jpeg_is_close(data):
    assert np.abs(codec.decode_image(data, "a").astype(int) - SMOOTH).mean() < 3


def test_round_trip_and_orientation():
    np.testing.assert_array_equal(codec.decode_image(codec.encode_png(RGB), "a"), RGB)
    exif = Image.Exif()
    exif[0x0112] = 6
    assert codec.decode_image(pillow(RGB, exif=exif), "a").shape == (40, 50, 3), "stored pixels are not rotated"


def test_alpha_goes_onto_white():
    alpha = np.arange(2000, dtype=np.uint16).reshape(40, 50).astype(np.uint8)
    expected = np.rint((RGB * (alpha[..., None] / 255)) + 255 - alpha[..., None].astype(float))
    rgba = np.dstack([RGB, alpha])
    for data in (pillow(rgba), tiff(rgba, photometric="rgb", extrasamples=["unassalpha"])):
        assert np.abs(codec.decode_image(data, "a") - expected).max() <= 1
    premultiplied = np.dstack([np.rint(RGB * (alpha[..., None] / 255)).astype(np.uint8), alpha])
    data = tiff(premultiplied, photometric="rgb", extrasamples=["assocalpha"])
    assert np.abs(codec.decode_image(data, "a") - expected).max() <= 1


def test_palette_is_expanded():
    image = Image.fromarray(RGB).quantize(64)
    np.testing.assert_array_equal(codec.decode_image(pillow(image), "a"), np.asarray(image.convert("RGB")))


ANIMATION = pillow(RGB, "WEBP", save_all=True, append_images=[Image.fromarray(255 - RGB)])
REFUSED_IMAGES = {
    "empty": (b"", "empty"),
    "text": (b"hello, this is no image at all", "not a PNG"),
    "gif": (pillow(Image.fromarray(RGB).quantize(16), "GIF"), "not a PNG"),
    "grey": (pillow(RGB[..., 0]), "greyscale"),
    "grey as rgb": (pillow(np.repeat(RGB[..., :1], 3, axis=2)), "greyscale"),
    "grey 16": (imagecodecs.png_encode(RGB[..., 0].astype(np.uint16) * 257), "greyscale"),
    "grey alpha": (pillow(RGB[..., :2]), "greyscale"),
    "one bit": (pillow(Image.fromarray(RGB[..., 0] > 99)), "greyscale"),
    "grey tiff": (tiff(RGB[..., 0]), "greyscale"),
    "black": (pillow(np.zeros_like(RGB)), "greyscale"),
    "float": (tiff(RGB.astype(np.float32), photometric="rgb"), "float32"),
    "signed": (tiff(RGB.astype(np.int16), photometric="rgb"), "int16"),
    "12 of 16 bits": (tiff(RGB.astype(np.uint16) * 16, photometric="rgb"), "full range"),
    "cmyk jpeg": (pillow(Image.fromarray(RGB).convert("CMYK"), "JPEG"), "CMYK"),
    "cmyk tiff": (pillow(Image.fromarray(RGB).convert("CMYK"), "TIFF"), "convert it to RGB"),
    "lab tiff": (pillow(Image.fromarray(RGB).convert("LAB"), "TIFF"), "convert it to RGB"),
    "stack": (tiff(np.stack([RGB] * 3), photometric="rgb"), "stack of 3 pages"),
    "animation": (ANIMATION, "animation"),
    "small": (pillow(RGB[:31]), "50 x 31 px"),
    "one pixel": (pillow(RGB[:1, :1]), "1 x 1 px"),
    "lying png": (png_claiming(9000, 9000), "damaged"),
    "lying tiff": (tiff_claiming(900, 900), "damaged"),
}


@pytest.mark.parametrize("case", REFUSED_IMAGES)
def test_refused_with_one_line_that_names_the_image(case):
    data, words = REFUSED_IMAGES[case]
    with pytest.raises(InvalidImage, match=words) as caught:
        codec.decode_image(data, "slide 7.png")
    message = str(caught.value)
    assert message.startswith("slide 7.png ")
    assert "\n" not in message


@pytest.mark.parametrize("form", ["png", "webp", "tiff", "tiff lzw", "tiff deflate", "tiff tiled", "png 16"])
@pytest.mark.parametrize("part", [0.02, 0.5, 0.98])
def test_cut_files_are_refused(form, part):
    data = LOSSLESS[form]
    with pytest.raises(InvalidImage):
        codec.decode_image(data[: int(len(data) * part)], "cut")


def test_cut_jpeg_is_refused():
    data = pillow(SMOOTH, "JPEG")
    for end in (30, len(data) // 2, len(data) - 20):
        with pytest.raises(InvalidImage):
            codec.decode_image(data[:end], "cut")


@pytest.mark.parametrize("data", [png_claiming(60000, 60000), tiff_claiming(60000, 60000)])
def test_bombs_are_refused_by_their_header(data):
    with pytest.raises(TooLarge, match="60000 x 60000 px, over 100 megapixels"):
        codec.decode_image(data, "bomb")


@pytest.mark.parametrize("flips", range(20))
def test_flipped_bytes_never_escape_as_other_errors(flips):
    rng = np.random.default_rng(flips)
    for data in LOSSLESS.values():
        damaged = bytearray(data)
        for at in rng.integers(0, len(data), 1 + flips):
            damaged[at] ^= int(rng.integers(1, 256))
        for decode in (codec.decode_image, codec.decode_instances):
            with suppress(InvalidInput, TooLarge):
                decode(bytes(damaged), "damaged")


@pytest.mark.parametrize(
    ("top", "media_type"), [(5, codec.PNG), (65535, codec.PNG), (1 << 16, codec.TIFF), ((1 << 31) - 1, codec.TIFF)]
)
def test_instances_keep_their_labels(top, media_type):
    labels = np.zeros((7, 9), dtype=np.int64)
    labels[2, 3:5] = top
    data, found = codec.encode_instances(labels)
    assert found == media_type
    decoded = codec.decode_instances(data, "map")
    assert decoded.dtype == np.int32
    np.testing.assert_array_equal(decoded, labels)


def test_label_maps_of_other_tools():
    labels = np.arange(63, dtype=np.uint8).reshape(7, 9)
    palette = Image.fromarray(labels)
    palette.putpalette(list(range(256)) * 3)
    for data in (pillow(labels), pillow(palette), tiff(labels), tiff(labels.astype(np.uint16)), tiff(labels.astype(np.int32))):
        np.testing.assert_array_equal(codec.decode_instances(data, "map"), labels)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (pillow(RGB), "one label per pixel"),
        (tiff(RGB, photometric="rgb"), "one label per pixel"),
        (tiff(np.zeros((7, 9), dtype=np.float32)), "integer labels"),
        (tiff(np.full((7, 9), -1, dtype=np.int32)), "negative"),
        (tiff(np.full((7, 9), 2**31, dtype=np.uint32)), "relabel"),
        (pillow(RGB[..., 0], "JPEG"), "PNG or TIFF"),
        (b"", "empty"),
        (imagecodecs.png_encode(RGB[..., 0] % 16, level=1)[:60], "damaged"),
    ],
)
def test_refused_label_maps(data, words):
    with pytest.raises(InvalidMask, match=words):
        codec.decode_instances(data, "map 3")


@pytest.mark.parametrize("bad", [np.zeros((3, 3)), np.full((3, 3), -1), np.full((3, 3), 2**31), np.zeros((0, 3), dtype=int)])
def test_only_instance_maps_are_encoded(bad):
    with pytest.raises(InvalidMask):
        codec.encode_instances(bad)


def test_masks_round_trip():
    mask = RGB[..., 0] > 127
    np.testing.assert_array_equal(codec.decode_mask(codec.encode_mask(mask), "mask"), mask)


@needs_data
def test_aperio_slide_region():
    data = (SHARED_DATA / "wsi" / "cmu-1-small-region.svs").read_bytes()
    rgb = codec.decode_image(data, "region")
    assert rgb.shape == (2967, 2220, 3)
    assert rgb.mean(axis=(0, 1)) == pytest.approx([214, 195, 208], abs=1)

"""Reading of raster files, size first: header, limits, then pixels as they are stored."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from nucleate.errors import InvalidInput, TooLarge

MIN_SIDE = 32
MAX_PIXELS = 100_000_000

_PILLOW_FORMATS = ("PNG", "JPEG", "WEBP")
#: Offset of the bit depth in a PNG file: its first chunk is always the header.
_PNG_DEPTH = 24
_TIFF_MAGIC = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
#: Pillow's own limit warns instead of refusing, and at a lower size: one limit is enough.
Image.MAX_IMAGE_PIXELS = None


def read(data: bytes, name: str, error: type[InvalidInput], *, labels: bool = False) -> NDArray[Any]:
    """Pixels of a PNG, JPEG, WebP or TIFF as stored: HW (grey or label map) or HWC with 3 (RGB) or 4 (RGBA) channels.

    With `labels`, lossy formats are refused and palette indices are returned as labels. Raises `error` with one line.
    """
    if not data:
        raise error(f"{name} is empty (0 bytes): send the whole file")
    try:
        if data[:4] in _TIFF_MAGIC:
            return _read_tiff(data, name, error, labels=labels)
        return _read_pillow(data, name, error, labels=labels)
    except (InvalidInput, TooLarge, MemoryError):
        raise
    except UnidentifiedImageError:
        kinds = "PNG or TIFF" if labels else "PNG, TIFF, JPEG or WebP"
        raise error(f"{name} is not a {kinds} file, or is damaged: save it as one") from None
    except Exception as cause:  # noqa: BLE001 - decoders raise their own, undocumented kinds for damaged data
        raise error(f"{name} is damaged or cut short ({type(cause).__name__}): send the whole file again") from None


def check_size(width: int, height: int, name: str, error: type[InvalidInput], *, labels: bool = False) -> None:
    """Refuse images over `MAX_PIXELS` and, unless they are label maps, under `MIN_SIDE`."""
    if width * height > MAX_PIXELS:
        raise TooLarge(f"{name} is {width} x {height} px, over {MAX_PIXELS // 1_000_000} megapixels: cut it into regions")
    least = 1 if labels else MIN_SIDE
    if min(width, height) < least:
        raise error(f"{name} is {width} x {height} px: both sides need at least {least} px, send a larger crop")


def _read_pillow(data: bytes, name: str, error: type[InvalidInput], *, labels: bool) -> NDArray[Any]:
    with Image.open(io.BytesIO(data), formats=_PILLOW_FORMATS) as image:
        check_size(image.width, image.height, name, error, labels=labels)
        if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":
            raise error(f"{name} is an animation: save the one frame to use")
        if labels and image.format != "PNG":
            raise error(f"{name} is a {image.format} file: label maps have to be PNG or TIFF")
        if labels and data[_PNG_DEPTH] in (2, 4) and image.mode == "L":
            raise error(f"{name} is a {data[_PNG_DEPTH]}-bit PNG, whose labels decoders rescale: save it with 8 or 16 bits")
        if image.format == "PNG" and data[_PNG_DEPTH] == 16 and image.mode not in ("I;16", "I;16B", "I"):
            return _png_16_bit(data)
        return _pillow_pixels(image, name, error, labels=labels)


def _png_16_bit(data: bytes) -> NDArray[Any]:
    # Pillow keeps only the high byte of 16-bit colour.
    import imagecodecs

    pixels: NDArray[Any] = imagecodecs.png_decode(data)
    return pixels


def _pillow_pixels(image: Image.Image, name: str, error: type[InvalidInput], *, labels: bool) -> NDArray[Any]:
    mode = image.mode
    if mode == "P" and not labels:
        image.load()
        return np.asarray(image.convert("RGBA" if "transparency" in image.info else "RGB"))
    if mode in ("RGB", "RGBA") and "transparency" in image.info:
        return np.asarray(image.convert("RGBA"))
    if mode in ("RGB", "RGBA", "L", "LA", "P"):
        return np.asarray(image)
    if mode == "1":
        return np.asarray(image).astype(np.uint8)
    if mode in ("I;16", "I;16B", "I"):
        return np.asarray(image).astype(np.uint16)
    raise error(f"{name} is a {mode} image: convert it to RGB")


def _read_tiff(data: bytes, name: str, error: type[InvalidInput], *, labels: bool) -> NDArray[Any]:
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.series[0].levels[0].keyframe
        series = file.series[0].levels[0]
        check_size(page.imagewidth, page.imagelength, name, error, labels=labels)
        if len(series.pages) > 1:
            raise error(f"{name} is a stack of {len(series.pages)} pages: save the one to use")
        pixels: NDArray[Any] = page.asarray()
        return _tiff_channels(page, pixels, name, error, labels=labels)


def _tiff_channels(page: Any, pixels: NDArray[Any], name: str, error: type[InvalidInput], *, labels: bool) -> NDArray[Any]:
    if pixels.dtype.kind == "b":
        pixels = pixels.astype(np.uint8)
    if pixels.dtype.kind not in "ui":
        fix = "integer labels" if labels else "8-bit RGB"
        raise error(f"{name} holds {pixels.dtype} values: save it as {fix}")
    if page.photometric == tifffile.PHOTOMETRIC.PALETTE and not labels:
        return np.asarray(np.moveaxis(page.colormap[:, pixels], 0, -1))
    if pixels.ndim == 3 and page.planarconfig == tifffile.PLANARCONFIG.SEPARATE and pixels.shape[0] <= 4:
        pixels = np.moveaxis(pixels, 0, -1)
    if pixels.ndim == 2 or labels:
        return pixels
    if page.photometric not in (tifffile.PHOTOMETRIC.RGB, tifffile.PHOTOMETRIC.YCBCR):
        raise error(f"{name} is a TIFF of {page.photometric.name} colour: convert it to RGB")
    if pixels.ndim != 3 or pixels.shape[2] not in (3, 4):
        raise error(f"{name} has pixels of shape {pixels.shape}: save it as RGB")
    return _without_odd_alpha(page, pixels)


def _without_odd_alpha(page: Any, pixels: NDArray[Any]) -> NDArray[Any]:
    """Leave only straight alpha: a fourth channel of no stated meaning is dropped, premultiplied colour goes onto white."""
    kind = page.extrasamples[0] if pixels.shape[2] == 4 and page.extrasamples else tifffile.EXTRASAMPLE.UNASSALPHA
    if kind == tifffile.EXTRASAMPLE.UNSPECIFIED:
        return pixels[..., :3]
    if kind == tifffile.EXTRASAMPLE.ASSOCALPHA:
        colour = pixels[..., :3]
        return np.asarray(colour + np.minimum(np.iinfo(pixels.dtype).max - pixels[..., 3:], ~colour))
    return pixels


def write_tiff(array: NDArray[np.uint32]) -> bytes:
    """An HW array as a deflated single-page TIFF."""
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, array, compression="zlib", photometric="minisblack")
    return buffer.getvalue()

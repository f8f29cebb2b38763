"""Images and label maps to and from bytes.

The format is found from the bytes, never from a name; the size is read from the header and checked before any pixel is
decoded. Pixels are taken as they are stored: EXIF orientation and colour profiles are not applied, so that masks drawn on
the stored pixels stay in place.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from nucleate.errors import InvalidImage, InvalidMask, TooLarge
from nucleate.pathology.images import raster_files
from nucleate.pathology.instances.instance_map import check_instance_map

MIN_SIDE = raster_files.MIN_SIDE
MAX_PIXELS = raster_files.MAX_PIXELS
PNG = "image/png"
TIFF = "image/tiff"

#: A 16-bit image is taken as full range from this level on, and refused below it: H&E has bright glass or stroma somewhere,
#: so a lower maximum means 10-, 12- or 14-bit data in 16-bit words, whose scale the file does not tell.
FULL_RANGE = 1 << 15
#: At least this level everywhere: blank glass, which is grey and still no greyscale image.
_GLASS = 215
_LEVEL_OF_16_BIT = ((np.arange(1 << 16, dtype=np.uint32) + 128) // 257).astype(np.uint8)


def decode_image(data: bytes, name: str) -> NDArray[np.uint8]:
    """Decode PNG, TIFF (any compression, SVS level 0), JPEG or WebP to HWC uint8 RGB, contiguous.

    Alpha is composited on white, palettes are expanded, 16-bit levels v become round(v / 257). Raises `InvalidImage`, naming
    the image and the fix, for other formats, damaged files, greyscale, CMYK, float or signed pixels, several pages, sides under
    32 px and 16-bit data that does not use its range; `TooLarge` above 100 megapixels.
    """
    pixels = raster_files.read(data, name, InvalidImage)
    if pixels.ndim == 2 or pixels.shape[2] < 3:
        raise _grey(name)
    rgb = _on_white(_to_8_bit(pixels, name))
    if int(rgb.min()) < _GLASS and _is_grey(rgb):
        raise _grey(name)
    return np.ascontiguousarray(rgb)


def _grey(name: str) -> InvalidImage:
    return InvalidImage(f"{name} is a greyscale image: nucleate needs the colour H&E image (RGB)")


def _is_grey(rgb: NDArray[np.uint8]) -> bool:
    red, green, blue = cv2.split(rgb)
    return bool((red == green).all() and (green == blue).all())


def _to_8_bit(pixels: NDArray[np.integer], name: str) -> NDArray[np.uint8]:
    if pixels.dtype == np.uint8:
        return pixels.astype(np.uint8, copy=False)
    if pixels.dtype != np.uint16:
        raise InvalidImage(f"{name} holds {pixels.dtype} levels: save it as 8-bit RGB")
    top = int(pixels[..., :3].max())
    if top < FULL_RANGE:
        raise InvalidImage(
            f"{name} is 16-bit and reaches only level {top} of 65535: scale it to the full range or save it as 8-bit RGB"
        )
    return np.take(_LEVEL_OF_16_BIT, pixels)


def _on_white(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Drop an alpha channel by compositing on white, rounded."""
    if pixels.shape[2] == 3:
        return pixels
    alpha = pixels[..., 3:].astype(np.uint16)
    return ((pixels[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def encode_png(rgb: NDArray[np.uint8]) -> bytes:
    """HWC uint8 RGB as PNG; lossless."""
    return _png(cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))


def encode_instances(instances: NDArray[np.integer]) -> tuple[bytes, str]:
    """An HW instance map as (bytes, media type): 16-bit PNG, or deflated 32-bit TIFF where a label exceeds 65,535.

    Labels are kept as they are. Raises `InvalidMask` for float, negative or empty maps and labels over 2**31 - 1.
    """
    array = check_instance_map(instances)
    top = int(array.max())
    if top < 1 << 16:
        return _png(array.astype(np.uint16)), PNG
    if top >= 1 << 31:
        raise InvalidMask(f"the instance map has label {top}: relabel it, labels end at 2147483647")
    return raster_files.write_tiff(array.astype(np.uint32)), TIFF


def decode_instances(data: bytes, name: str) -> NDArray[np.int32]:
    """Read a label map: 8- or 16-bit grey PNG, 8-, 16- or 32-bit integer TIFF, to HW int32 (0 = background).

    Raises `InvalidMask` for colour, float or negative maps, labels over 2**31 - 1 and damaged files; `TooLarge` above 100 Mpx.
    """
    labels = raster_files.read(data, name, InvalidMask, labels=True)
    if labels.ndim != 2:
        raise InvalidMask(
            f"{name} has pixels of shape {labels.shape}: save one label per pixel as a 16-bit grey PNG or a label TIFF"
        )
    array = check_instance_map(labels, name)
    if int(array.max()) >= 1 << 31:
        raise InvalidMask(f"{name} has label {int(array.max())}: relabel it, labels end at 2147483647")
    return array.astype(np.int32)


def encode_mask(mask: NDArray[np.bool_]) -> bytes:
    """An HW bool mask as 8-bit PNG of 0 and 255."""
    return _png(mask.astype(np.uint8) * np.uint8(255))


def decode_mask(data: bytes, name: str) -> NDArray[np.bool_]:
    """Read an HW mask: any grey PNG or TIFF, non-zero is True. Raises as `decode_instances` does."""
    return decode_instances(data, name) > 0


def _png(array: NDArray[Any]) -> bytes:
    done, buffer = cv2.imencode(".png", array, [cv2.IMWRITE_PNG_COMPRESSION, 3])
    if not done:
        raise TooLarge(f"an array of shape {array.shape} does not fit a PNG")
    return buffer.tobytes()

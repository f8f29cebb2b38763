"""Image files through Pillow: media type and size before anything is decoded, PNG in and out; no array library."""

from __future__ import annotations

import io
import sys
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from nucleate.errors import InvalidMask

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

PNG, TIFF, JPEG, WEBP = "image/png", "image/tiff", "image/jpeg", "image/webp"
MAX_MAP_PIXELS = 4096 * 4096

_BIGTIFF_SIGNATURES = (b"II+\0", b"MM\0+")
_TIFF_SIGNATURES = (b"II*\0", b"MM\0*", *_BIGTIFF_SIGNATURES)
_IMAGE_WIDTH, _IMAGE_LENGTH = 256, 257  # tags of a TIFF directory
#: Array type of the labels by how Pillow reads the stored pixels.
_LABEL_TYPES: dict[object, Literal["B", "H"]] = {"L": "B", "I;16B": "H"}


@dataclass(frozen=True)
class InstanceMap:
    """Labels row by row, uint8 or uint16, `width` * `height` of them; 0 = background."""

    width: int
    height: int
    labels: array[int]

    @property
    def nuclei(self) -> int:
        """Number of distinct labels other than 0."""
        return len(set(self.labels) - {0})


def media_type(data: bytes) -> str | None:
    """Return the IANA media type that the first bytes show, or None if they are none of the four formats."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return PNG
    if data.startswith(b"\xff\xd8\xff"):
        return JPEG
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return WEBP
    return TIFF if data.startswith(_TIFF_SIGNATURES) else None


def image_size(data: bytes) -> tuple[int, int] | None:
    """Return (width, height) in pixels as stored, or None where the header does not tell; no pixel is decoded."""
    kind = media_type(data)
    if kind is None:
        return None
    try:
        return _tiff_size(data) if kind == TIFF else _opened(data, kind).size
    except Exception:  # noqa: BLE001 - Pillow's plugins raise undocumented kinds for damaged data
        return None


def read_instance_map(data: bytes, name: str) -> InstanceMap:
    """Decode an 8- or 16-bit grey PNG.

    Raises:
        InvalidMask: `name` is no such file, damaged, interlaced, or over 16 megapixels.
    """
    if media_type(data) != PNG:
        raise InvalidMask(f"{name} is not a PNG: hand in the instance map as a 16-bit grey PNG")
    try:
        with _opened(data, PNG) as image:
            kind = _label_type(image, name)
            labels = array(kind, image.tobytes())
    except InvalidMask:
        raise
    except Exception as error:
        raise InvalidMask(f"{name} is a damaged PNG: write the instance map again") from error
    return InstanceMap(image.width, image.height, _swapped_on_big_endian(labels))


def encode_png(width: int, height: int, pixels: bytes, *, mode: str = "L", level: int = 6) -> bytes:
    """Encode row-major pixels, uint8 as "L" (grey), "RGB" or "RGBA". `level` is zlib's, 1 = fast."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.frombytes(mode, (width, height), pixels).save(buffer, "PNG", compress_level=level)
    return buffer.getvalue()


def encode_instance_map(width: int, height: int, labels: array[int]) -> bytes:
    """Encode row-major labels up to 65,535 as a 16-bit grey PNG."""
    return encode_png(width, height, _swapped_on_big_endian(array("H", labels)).tobytes(), mode="I;16")


def _opened(data: bytes, kind: str) -> ImageFile:
    """Read a PNG's, JPEG's or WebP's header.

    By the format's own class: `Image.open` would warn of large images, and refuse larger ones, by a limit that belongs to the
    whole process.
    """
    from PIL.JpegImagePlugin import JpegImageFile
    from PIL.PngImagePlugin import PngImageFile
    from PIL.WebPImagePlugin import WebPImageFile

    formats: dict[str, type[ImageFile]] = {PNG: PngImageFile, JPEG: JpegImageFile, WEBP: WebPImageFile}
    return formats[kind](io.BytesIO(data))


def _label_type(image: ImageFile, name: str) -> Literal["B", "H"]:
    """Array type of an instance map's labels; `InvalidMask` for what is none by its header."""
    kind = _LABEL_TYPES.get(image.tile[0].args)
    if kind is None or image.info.get("interlace"):
        raise InvalidMask(f"{name} is not a plain grey PNG: hand in the instance map as a 16-bit grey PNG, not interlaced")
    if image.width * image.height > MAX_MAP_PIXELS:
        raise InvalidMask(f"{name} is {image.width}x{image.height}: an instance map has 1 to {MAX_MAP_PIXELS} pixels")
    return kind


def _tiff_size(data: bytes) -> tuple[int, int] | None:
    """Size of the first image of a TIFF or BigTIFF, of any pixel type: its directory alone is read."""
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    big = data.startswith(_BIGTIFF_SIGNATURES)
    # Pillow knows BigTIFF by its little-endian signature only; the byte order is given beside it.
    header = b"II+\0" + data[4:16] if big else data[:8]
    directory = ImageFileDirectory_v2(header, prefix=data[:2])
    file = io.BytesIO(data)
    file.seek(directory.next)
    directory.load(file)
    width, height = directory[_IMAGE_WIDTH], directory[_IMAGE_LENGTH]
    return (width, height) if isinstance(width, int) and isinstance(height, int) else None


def _swapped_on_big_endian(labels: array[int]) -> array[int]:
    """Swap the bytes where the machine's order is not Pillow's, which is little-endian for 16-bit grey."""
    if sys.byteorder == "big":
        labels.byteswap()
    return labels

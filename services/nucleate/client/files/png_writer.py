"""PNG without an image library: the client has none. Source: ISO/IEC 15948."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from typing import Final

from nucleate.errors import InvalidMask

#: Colour type by channels.
_COLOUR: Final = {1: 0, 3: 2, 4: 6}


def mask_png(width: int, height: int, box: tuple[int, int, int, int], runs: Iterable[int]) -> bytes:
    """Draw row-major run lengths (background first) inside `box` = (x, y, width, height) as an 8-bit PNG, 0 or 255.

    `width` and `height` are the image's, in pixels. Raises `InvalidMask` if box or runs do not fit.
    """
    x, y, box_width, box_height = box
    inside = bytearray()
    value = 0
    for run in runs:
        inside += bytes([value]) * run
        value ^= 255
    if len(inside) != box_width * box_height or x + box_width > width or y + box_height > height:
        raise InvalidMask(f"the service sent a mask that does not fit its {width}x{height} image: update client and services")
    pixels = bytearray(width * height)
    for row in range(box_height):
        start = (y + row) * width + x
        pixels[start : start + box_width] = inside[row * box_width : (row + 1) * box_width]
    return pixels_png(width, height, bytes(pixels))


def pixels_png(width: int, height: int, pixels: bytes, *, channels: int = 1, depth: int = 8, level: int = 6) -> bytes:
    """Write row-major pixels (16-bit levels big-endian): 1 channel is grey, 3 are RGB, 4 RGBA. `level` is zlib's, 1 = fast."""
    stride = width * channels * depth // 8
    assert len(pixels) == stride * height
    packer = zlib.compressobj(level)
    parts = [packer.compress(b"\0" + pixels[row * stride : (row + 1) * stride]) for row in range(height)]
    header = struct.pack(">IIBBBBB", width, height, depth, _COLOUR[channels], 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", b"".join([*parts, packer.flush()])), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, data) for name, data in chunks)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

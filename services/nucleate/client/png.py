"""A binary mask as PNG without an image library: the client has none."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable

from nucleate.errors import InvalidMask


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
    rows = []
    for row in range(height):
        line = bytearray(width)
        if y <= row < y + box_height:
            line[x : x + box_width] = inside[(row - y) * box_width : (row - y + 1) * box_width]
        rows.append(b"\0" + bytes(line))
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"".join(rows))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, data) for name, data in chunks)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

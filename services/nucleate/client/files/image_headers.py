"""Width and height of an image file from its first bytes, without decoding it.

Sources: PNG (ISO/IEC 15948, IHDR), JPEG (ITU-T T.81, SOF markers), WebP (RFC 9649, VP8/VP8L/VP8X chunks), TIFF 6.0 (first IFD)
and BigTIFF. A cheap check before anything is uploaded; the services decode the pixels and have the last word.
"""

from __future__ import annotations

import struct

PNG, TIFF, JPEG, WEBP = "image/png", "image/tiff", "image/jpeg", "image/webp"
_TIFF_MAGIC = {b"II*\0": "<", b"MM\0*": ">", b"II+\0": "<", b"MM\0+": ">"}
_TIFF_VALUE = {1: "B", 3: "H", 4: "I", 16: "Q"}
# SOF0..SOF15 less DHT, JPG and DAC, which share the range.
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def media_type(data: bytes) -> str | None:
    """Return the IANA media type that the bytes show, or None if they are none of the four formats."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return PNG
    if data.startswith(b"\xff\xd8\xff"):
        return JPEG
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return WEBP
    return TIFF if data[:4] in _TIFF_MAGIC else None


def image_size(data: bytes) -> tuple[int, int] | None:
    """Return (width, height) in pixels, or None where the header does not tell."""
    reader = {PNG: _png, JPEG: _jpeg, WEBP: _webp, TIFF: _tiff}.get(media_type(data) or "")
    try:
        return reader(data) if reader else None
    except (struct.error, IndexError, KeyError):
        return None


def _png(data: bytes) -> tuple[int, int]:
    width, height = struct.unpack_from(">II", data, 16)
    return width, height


def _jpeg(data: bytes) -> tuple[int, int] | None:
    position = 2
    while position + 9 <= len(data):
        if data[position] != 0xFF:
            return None
        marker = data[position + 1]
        if marker in _JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", data, position + 5)
            return width, height
        if marker == 0xFF or 0xD0 <= marker <= 0xD7:
            position += 1 if marker == 0xFF else 2
        else:
            position += 2 + struct.unpack_from(">H", data, position + 2)[0]
    return None


def _webp(data: bytes) -> tuple[int, int] | None:
    kind = data[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if kind == b"VP8L":
        bits = struct.unpack_from("<I", data, 21)[0]
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    return None


def _tiff(data: bytes) -> tuple[int, int]:
    order = _TIFF_MAGIC[data[:4]]
    big = b"+" in data[:4]
    start = struct.unpack_from(f"{order}{'Q' if big else 'I'}", data, 8 if big else 4)[0]
    count = struct.unpack_from(f"{order}{'Q' if big else 'H'}", data, start)[0]
    head, step, value = (start + 8, 20, 12) if big else (start + 2, 12, 8)
    sides = {}
    for entry in range(head, head + step * min(count, 4096), step):
        tag, kind = struct.unpack_from(f"{order}HH", data, entry)
        if tag in (256, 257):
            sides[tag] = struct.unpack_from(f"{order}{_TIFF_VALUE[kind]}", data, entry + value)[0]
    return sides[256], sides[257]

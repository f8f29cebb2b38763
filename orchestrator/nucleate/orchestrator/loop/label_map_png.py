"""Reads instance maps without any pixel library: 8- and 16-bit grey PNG, as annotation tasks hand in.

The orchestrator checks a submitted mask's size, counts its nuclei and draws its outlines in the report; an image stack would be
far too much for that. Decoding follows the PNG specification (ISO/IEC 15948), chapters 9 and 11; interlaced files are refused.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from nucleate.errors import InvalidMask

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_MAX_PIXELS = 4096 * 4096


@dataclass(frozen=True)
class LabelMap:
    """Labels row by row, 0 = background."""

    width: int
    height: int
    labels: tuple[tuple[int, ...], ...]

    @property
    def nuclei(self) -> int:
        """Number of distinct labels other than 0."""
        return len({label for row in self.labels for label in set(row)} - {0})

    def outline(self) -> str:
        """SVG path data along the pixel edges where the label changes, in pixels from the top-left corner."""
        parts = []
        for y, row in enumerate(self.labels):
            above = self.labels[y - 1] if y else row
            parts += [f"M{x0} {y}H{x1}" for x0, x1 in _runs(a != b for a, b in zip(above, row, strict=True))]
        columns = list(zip(*self.labels, strict=True))
        for x in range(1, self.width):
            edges = (a != b for a, b in zip(columns[x - 1], columns[x], strict=True))
            parts += [f"M{x} {y0}V{y1}" for y0, y1 in _runs(edges)]
        return "".join(parts)


def decode(data: bytes, name: str) -> LabelMap:
    """Decode an 8- or 16-bit grey PNG.

    Raises:
        InvalidMask: `name` is no such file, damaged, interlaced, or over 16 megapixels.
    """
    try:
        width, height, depth, packed = _chunks(data, name)
        raw = zlib.decompressobj().decompress(packed, (width * depth // 8 + 1) * height + 1)
        rows = list(_unfiltered(raw, width * depth // 8, height, depth // 8))
    except (struct.error, zlib.error, IndexError, ValueError) as error:
        raise InvalidMask(f"{name} is a damaged PNG: write the instance map again") from error
    kind = "B" if depth == 8 else "H"
    return LabelMap(width, height, tuple(struct.unpack(f">{width}{kind}", row) for row in rows))


def _chunks(data: bytes, name: str) -> tuple[int, int, int, bytes]:
    """Width, height, bit depth and the compressed pixels."""
    if not data.startswith(_SIGNATURE):
        raise InvalidMask(f"{name} is not a PNG: hand in the instance map as a 16-bit grey PNG")
    width, height, depth, colour, _, _, interlace = struct.unpack(">IIBBBBB", data[16:29])
    if colour != 0 or depth not in (8, 16) or interlace:
        raise InvalidMask(f"{name} is not a plain grey PNG: hand in the instance map as a 16-bit grey PNG, not interlaced")
    if not 0 < width * height <= _MAX_PIXELS:
        raise InvalidMask(f"{name} is {width}x{height}: an instance map has 1 to {_MAX_PIXELS} pixels")
    packed, position = b"", 8
    while position + 8 <= len(data):
        (length,) = struct.unpack(">I", data[position : position + 4])
        if data[position + 4 : position + 8] == b"IDAT":
            packed += data[position + 8 : position + 8 + length]
        position += 12 + length
    return width, height, depth, packed


def _unfiltered(raw: bytes, stride: int, height: int, step: int) -> Iterator[bytes]:
    """Undo the per-row filters: none, left, up, average, Paeth."""
    if len(raw) != (stride + 1) * height:
        raise ValueError("pixel data has the wrong length")
    above = bytearray(stride)
    for y in range(height):
        start = y * (stride + 1)
        row = bytearray(raw[start + 1 : start + 1 + stride])
        kind = raw[start]
        if kind > 4:
            raise ValueError("unknown row filter")
        for i in range(stride) if kind else ():
            left = row[i - step] if i >= step else 0
            corner = above[i - step] if i >= step else 0
            predicted = (0, left, above[i], (left + above[i]) // 2, _paeth(left, above[i], corner))[kind]
            row[i] = (row[i] + predicted) & 0xFF
        above = row
        yield bytes(row)


def _paeth(left: int, up: int, corner: int) -> int:
    """Of the three neighbours, the one nearest to left + up - corner; ties go to left, then up."""
    guess = left + up - corner
    return min((left, up, corner), key=lambda each: abs(guess - each))


def _runs(edges: Iterator[bool]) -> Iterator[tuple[int, int]]:
    """Half-open ranges of consecutive true values."""
    start = None
    end = 0
    for end, edge in enumerate(edges, 1):
        if edge and start is None:
            start = end - 1
        elif not edge and start is not None:
            yield start, end - 1
            start = None
    if start is not None:
        yield start, end

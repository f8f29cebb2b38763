"""What clicks give: masks as run lengths, readable by array libraries without needing one."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from nucleate.client.files.image_files import encode_instance_map, encode_png
from nucleate.errors import InvalidMask, TooLarge
from nucleate.v1 import interactive_pb2 as pb

_WHITE = bytes([0, *[255] * 255])
_MAX_LABELS = 0xFFFF  # of a 16-bit PNG


class Box(NamedTuple):
    """A rectangle in image pixels, origin at the image's top-left corner."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True)
class Mask:
    """A binary mask, cut to its bounding box `box`; `window` is the part of the image that its session annotates.

    `runs` are row-major run lengths inside the box, background first. `numpy.asarray(mask)` is a bool array of the window's
    height and width: of the image's, unless the session was opened on a part of it.
    """

    box: Box
    runs: tuple[int, ...]
    window: Box

    def __post_init__(self) -> None:
        """Raise `InvalidMask` if the runs do not add up to the box."""
        if sum(self.runs) != self.box.width * self.box.height:
            raise InvalidMask("the service sent a mask whose runs do not add up to its box: update client and service")

    @classmethod
    def of(cls, message: pb.Mask, window: Box) -> Mask:
        """Read the protocol's message."""
        box = message.box
        return cls(Box(box.x, box.y, box.width, box.height), tuple(message.runs), window)

    @property
    def area(self) -> int:
        """Pixels."""
        return sum(self.runs[1::2])

    def __contains__(self, point: tuple[int, int]) -> bool:
        """Whether the pixel (x, y) of the image belongs to the mask."""
        x, y = point
        return any(row == y and left <= x < right for row, left, right in self.spans())

    def spans(self) -> Iterator[tuple[int, int, int]]:
        """Yield (y, left, right) in image pixels, `right` excluded: the mask's stretches, from the top."""
        left, top, width, _ = self.box
        position, inside = 0, False
        for run in self.runs:
            end = position + run
            while inside and position < end:
                row, column = divmod(position, width)
                length = min(width - column, end - position)
                yield top + row, left + column, left + column + length
                position += length
            position, inside = end, not inside

    def to_bytes(self, frame: Box | None = None) -> bytes:
        """Return one byte per pixel of `frame` (the window, if not given), row-major: 1 in the mask, else 0."""
        frame = frame or self.window
        pixels = bytearray(frame.width * frame.height)
        for start, stop in _clipped(self.spans(), frame):
            pixels[start:stop] = b"\1" * (stop - start)
        return bytes(pixels)

    def to_png(self, frame: Box | None = None) -> bytes:
        """Return `frame` (the window, if not given) as an 8-bit grey PNG: 255 in the mask, else 0."""
        frame = frame or self.window
        return encode_png(frame.width, frame.height, self.to_bytes(frame).translate(_WHITE))

    @property
    def __array_interface__(self) -> dict[str, Any]:
        return {"version": 3, "typestr": "|b1", "shape": (self.window.height, self.window.width), "data": self.to_bytes()}


@dataclass(frozen=True)
class LabelMap:
    """An instance map of a window: 0 background, 1..`nuclei` one label per nucleus. `numpy.asarray(map)` is int32."""

    window: Box
    nuclei: int
    _labels: array[int]

    @classmethod
    def of(cls, masks: Iterable[Mask], window: Box) -> LabelMap:
        """Draw masks in their order; one without a pixel in the window gets no label."""
        labels, nuclei = array("i", bytes(4 * window.width * window.height)), 0
        for mask in masks:
            spans = list(_clipped(mask.spans(), window))
            nuclei += bool(spans)
            for start, stop in spans:
                labels[start:stop] = array("i", [nuclei]) * (stop - start)
        return cls(window, nuclei, labels)

    def to_png(self) -> bytes:
        """Return the map as a 16-bit grey PNG; raise `TooLarge` past 65,535 nuclei."""
        if self.nuclei > _MAX_LABELS:
            raise TooLarge(
                f"{self.nuclei} nuclei do not fit a 16-bit PNG: take them from `to_bytes`, or annotate smaller windows"
            )
        return encode_instance_map(self.window.width, self.window.height, self._labels)

    def to_bytes(self) -> bytes:
        """Return the labels row-major as 32-bit integers in this machine's byte order."""
        return self._labels.tobytes()

    @property
    def __array_interface__(self) -> dict[str, Any]:
        kind = "<i4" if sys.byteorder == "little" else ">i4"
        shape = self.window.height, self.window.width
        return {"version": 3, "typestr": kind, "shape": shape, "data": self.to_bytes()}


def _clipped(spans: Iterable[tuple[int, int, int]], frame: Box) -> Iterator[tuple[int, int]]:
    """Cut spans to a frame; yield the (start, stop) of each in the frame's row-major pixels."""
    for y, left, right in spans:
        left, right = max(left - frame.x, 0), min(right - frame.x, frame.width)  # noqa: PLW2901 - from image to frame
        if 0 <= y - frame.y < frame.height and left < right:
            start = (y - frame.y) * frame.width
            yield start + left, start + right

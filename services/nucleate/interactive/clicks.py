"""Clicks, the maps that encode them for the network, and how deep the errors are that they correct."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from nucleate.pathology.instances.distance_transform import squared_distance_transform

Mask = NDArray[np.bool_]

DISK_RADIUS = 3
TAIL_RADIUS = 16
MAX_DISTANCE = 255  # px at which distance maps are truncated


class ClickEncoding(StrEnum):
    """How clicks are encoded for the network."""

    DISKS = "disks"  # 1 on a disk of 3 px, then 0.5 falling to 0 at 16 px
    EUCLIDEAN = "euclidean"  # 1 - min(distance, 255) / 255 to the nearest click (Xu et al. 2016)


@dataclass(frozen=True)
class Click:
    """One click: pixel column, pixel row, and whether the pixel belongs to the nucleus."""

    x: int
    y: int
    positive: bool

    def translated(self, dx: int, dy: int) -> Click:
        """The same click in a frame whose origin lies at (-dx, -dy)."""
        return Click(self.x + dx, self.y + dy, self.positive)


def _stamp() -> NDArray[np.float32]:
    """The map of one click: 1 on a disk of 3 px, then 0.5 falling to 0 at 16 px.

    Distances truncated at 255 (Xu et al. 2016) are nearly flat over a 25 px nucleus, so the range is short here.
    """
    axis = np.arange(-TAIL_RADIUS, TAIL_RADIUS + 1)
    distance = np.hypot(axis[:, None], axis[None, :])
    tail = 0.5 * np.clip(1 - distance / TAIL_RADIUS, 0, 1)
    return np.where(distance <= DISK_RADIUS, 1.0, tail).astype(np.float32)


_STAMP = _stamp()


def click_maps(
    clicks: Iterable[Click], height: int, width: int, encoding: ClickEncoding = ClickEncoding.DISKS
) -> NDArray[np.float32]:
    """Positive and negative click maps, 2 x height x width in 0..1, all 0 without a click of that sign.

    Clicks outside count by the part of their disk that reaches in, or by their distance.
    """
    return _disks(clicks, height, width) if encoding is ClickEncoding.DISKS else _distances(clicks, height, width)


def _distances(clicks: Iterable[Click], height: int, width: int) -> NDArray[np.float32]:
    nearest_2HW = np.full((2, height, width), MAX_DISTANCE, np.float32)
    rows, columns = np.arange(height, dtype=np.float32)[:, None], np.arange(width, dtype=np.float32)[None, :]
    for click in clicks:
        target = nearest_2HW[0 if click.positive else 1]
        np.minimum(target, np.hypot(rows - click.y, columns - click.x), out=target)
    return 1 - nearest_2HW / np.float32(MAX_DISTANCE)


def _disks(clicks: Iterable[Click], height: int, width: int) -> NDArray[np.float32]:
    maps_2HW = np.zeros((2, height, width), np.float32)
    for click in clicks:
        top, left = click.y - TAIL_RADIUS, click.x - TAIL_RADIUS
        rows = slice(max(top, 0), min(top + len(_STAMP), height))
        columns = slice(max(left, 0), min(left + len(_STAMP), width))
        if rows.start >= rows.stop or columns.start >= columns.stop:
            continue
        target = maps_2HW[0 if click.positive else 1, rows, columns]
        part = _STAMP[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
        np.maximum(target, part, out=target)
    return maps_2HW


def depth(region_HW: Mask) -> NDArray[np.float32]:
    """Euclidean distance in pixels to the nearest pixel outside the region; the frame counts as outside."""
    return np.sqrt(squared_distance_transform(region_HW))


def error_depths(
    truth_HW: Mask, mask_HW: Mask, clicked: Sequence[Click] = ()
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Depth of the missed and of the wrongly covered region; zero at pixels already clicked.

    Clicks outside the arrays are left out.
    """
    depths = depth(truth_HW & ~mask_HW), depth(mask_HW & ~truth_HW)
    height, width = truth_HW.shape
    for click in clicked:
        if 0 <= click.x < width and 0 <= click.y < height:
            for region in depths:
                region[click.y, click.x] = 0
    return depths


def larger_error(missed: NDArray[np.float32], wrong: NDArray[np.float32]) -> tuple[NDArray[np.float32], bool]:
    """The depths of the deeper region, and whether a click on it is positive; of equally deep ones the wrongly covered."""
    positive = bool(missed.max() > wrong.max())
    return missed if positive else wrong, positive

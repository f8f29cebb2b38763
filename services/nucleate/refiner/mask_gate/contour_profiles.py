"""Profiles of an image plane along the normals of nuclear contours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

REACH = 6.0  # pixels inwards and outwards
STEP = 0.5  # pixels between samples
SECTORS = 16  # arcs of equal length into which each contour is divided
POINTS = 3  # normals averaged in each arc
CLEAR = 3.0  # pixels beyond the contour that must be background for an arc to count
OFFSETS_L = np.arange(-REACH, REACH + STEP / 2, STEP, dtype=np.float32)


@dataclass(frozen=True)
class Normals:
    """Lines across the contours of N nuclei, K = SECTORS * POINTS each, sampled at L = len(OFFSETS_L) points.

    Attributes:
        x: float32 NKL, columns of the sampling points in pixels, from inside to outside.
        y: float32 NKL, their rows.
        outwards: float32 NK2, unit vectors (x, y).
        clear: bool NK, the line leaves into background that lies within the image.
    """

    x: NDArray[np.float32]
    y: NDArray[np.float32]
    outwards: NDArray[np.float32]
    clear: NDArray[np.bool_]


def normals(instances_HW: NDArray[np.int32], boxes: Sequence[tuple[slice, slice]], ids: Sequence[int]) -> Normals:
    """Lines across the outer contour of each nucleus `ids[i]` within `boxes[i]`."""
    points_NK2 = np.empty((len(ids), SECTORS * POINTS, 2), np.float32)
    tangents_NK2 = np.empty_like(points_NK2)
    for index, (box, label) in enumerate(zip(boxes, ids, strict=True)):
        contour_P2 = _outer_contour(instances_HW[box] == label) + np.array([box[1].start, box[0].start], np.float32)
        at = np.arange(SECTORS * POINTS) * len(contour_P2) // (SECTORS * POINTS)
        ahead = max(2, len(contour_P2) // SECTORS)
        points_NK2[index] = contour_P2[at]
        tangents_NK2[index] = contour_P2[(at + ahead) % len(contour_P2)] - contour_P2[(at - ahead) % len(contour_P2)]
    length = np.linalg.norm(tangents_NK2, axis=2, keepdims=True)
    # cv2 walks outer contours with the nucleus on its left in image coordinates (y down): outwards is (-dy, dx).
    normal_NK2 = np.stack([-tangents_NK2[..., 1], tangents_NK2[..., 0]], axis=2) / np.maximum(length, 1e-6)
    x_NKL = points_NK2[..., :1] + normal_NK2[..., :1] * OFFSETS_L
    y_NKL = points_NK2[..., 1:] + normal_NK2[..., 1:] * OFFSETS_L
    return Normals(x_NKL, y_NKL, normal_NK2, _clear(instances_HW, x_NKL, y_NKL))


def sample(plane_HW: NDArray[np.float32], lines: Normals) -> NDArray[np.float32]:
    """Bilinear values NKL of a plane along the lines; the border value is repeated outside."""
    count, per_nucleus, length = lines.x.shape
    flat = (count * per_nucleus, length)
    values = cv2.remap(
        plane_HW, lines.x.reshape(flat), lines.y.reshape(flat), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(values, np.float32).reshape(count, per_nucleus, length)


def _outer_contour(nucleus_hw: NDArray[np.bool_]) -> NDArray[np.float32]:
    contours, _ = cv2.findContours(nucleus_hw.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    longest = max(contours, key=len)
    return np.asarray(longest, np.float32)[:, 0]


def _clear(instances_HW: NDArray[np.int32], x_NKL: NDArray[np.float32], y_NKL: NDArray[np.float32]) -> NDArray[np.bool_]:
    height, width = instances_HW.shape
    ring = (OFFSETS_L >= 1.5) & (OFFSETS_L <= CLEAR)
    column, row = np.rint(x_NKL[..., ring]).astype(np.intp), np.rint(y_NKL[..., ring]).astype(np.intp)
    within = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    labels = instances_HW[np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)]
    clear: NDArray[np.bool_] = (within & (labels == 0)).all(axis=2)
    return clear

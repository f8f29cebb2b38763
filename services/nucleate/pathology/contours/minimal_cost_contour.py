"""Contours of nuclei from the image alone: the minimal-cost closed contour round a seed, found in polar coordinates.

Thresholded pseudo-labels follow the stain, not the contour: they are too large where tissue is dark, and in pieces where nuclei
are pale. Here a nucleus is the closed path r(angle) round a seed that maximises the fall of the haematoxylin margin from inside
to outside, with a penalty on jumps of the radius and on sizes far from the image's typical nucleus; dynamic programming finds
the best path for every seed (Timp and Karssemeijer, "A new 2D segmentation method based on dynamic programming", Med. Phys.,
2004).

    cost(angle, r) = -edge(angle, r) / reference + SIZE_WEIGHT log(r / typical)^2,   path cost += JUMP_WEIGHT |change of r|
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]

ANGLES = 64
STEP = np.float32(0.5)  # px between sampled radii
RADII = np.arange(1.5, 36, STEP, dtype=np.float32)
THETA = 2 * np.pi * np.arange(ANGLES, dtype=np.float32) / ANGLES
_COS, _SIN = np.cos(THETA).astype(np.float32), np.sin(THETA).astype(np.float32)
_EDGE_WIDTH = 3  # samples on each side of an edge
_MAX_JUMP = 3  # samples between neighbouring angles
JUMP_WEIGHT = np.float32(0.04)
SIZE_WEIGHT = np.float32(0.6)
_MIN_EDGE = np.float32(0.02)
_FORBIDDEN = np.float32(30)  # dearer than any edge can make up for
_CHUNK = 256


def wrap_angle(angle_A: NDArray[np.floating]) -> NDArray[np.floating]:
    """Angles brought into -pi..pi."""
    return (angle_A + np.pi) % (2 * np.pi) - np.pi


@dataclass(frozen=True, eq=False)
class RadialContours:
    """N closed paths round N seeds.

    `radii` N x ANGLES in px; `relative_edge` N: mean edge along the path over the strongest edges in sight, 0..1;
    `edge_quantile` N: the edge, in units of the image's contrast, that four fifths of the path exceed.
    """

    radii: Float
    relative_edge: Float
    edge_quantile: Float


def minimal_cost_contours(margin_HW: Float, seeds_N2: Float, typical: float) -> RadialContours:
    """Minimal-cost closed contour round each seed (x, y), px; `typical` is the expected radius in px.

    Args:
        margin_HW: haematoxylin margin in units of the image's contrast, high inside nuclei.
        seeds_N2: points inside the image.
        typical: radius of the typical nucleus.
    """
    parts = [_trace(margin_HW, seeds_N2[start : start + _CHUNK], typical) for start in range(0, len(seeds_N2), _CHUNK)]
    if not parts:
        return RadialContours(np.zeros((0, ANGLES), np.float32), np.zeros(0, np.float32), np.zeros(0, np.float32))
    radii, clearness, weakest = (np.concatenate(values) for values in zip(*parts, strict=True))
    return RadialContours(radii, clearness, weakest)


def constrained_contours(
    plane_HW: Float, seed: tuple[float, float], typicals: Sequence[float], forbidden_AR: NDArray[np.bool_]
) -> Float:
    """Contours round one seed (x, y) that avoid forbidden places of its polar view where they can: N x ANGLES radii in px.

    `typicals`: the N expected radii in px, one contour for each.
    """
    edge_1AR = _edges(_polar(plane_HW, np.array([seed], np.float32)))
    reference_11 = _reference(edge_1AR)
    cost_NAR = np.concatenate([_costs(edge_1AR, reference_11, typical) for typical in typicals])
    return np.asarray(RADII[minimal_closed_path(cost_NAR + _FORBIDDEN * forbidden_AR.astype(np.float32))], np.float32)


def _reference(edge_NAR: Float) -> Float:
    """The strongest edges in sight of each seed, N x 1."""
    strongest_N = np.quantile(edge_NAR, 0.98, axis=(1, 2))
    return np.maximum(strongest_N, _MIN_EDGE).astype(np.float32)[:, None]


def _costs(edge_NAR: Float, reference_N1: Float, typical: float) -> Float:
    size_R = SIZE_WEIGHT * np.log(RADII / np.float32(typical)) ** 2
    return np.asarray(size_R - edge_NAR / reference_N1[:, :, None], np.float32)


def _trace(margin_HW: Float, seeds_N2: Float, typical: float) -> tuple[Float, Float, Float]:
    edge_NAR = _edges(_polar(margin_HW, seeds_N2))
    reference_N1 = _reference(edge_NAR)
    path_NA = minimal_closed_path(_costs(edge_NAR, reference_N1, typical))
    along_NA = np.take_along_axis(edge_NAR, path_NA[:, :, None], 2)[:, :, 0]
    return RADII[path_NA], (along_NA / reference_N1).mean(1), np.quantile(along_NA, 0.2, axis=1).astype(np.float32)


def _polar(plane_HW: Float, seeds_N2: Float) -> Float:
    """The plane round each seed, N x ANGLES x radii, bilinear, mirrored beyond the image."""
    x_NAR = seeds_N2[:, 0, None, None] + RADII * _COS[:, None]
    y_NAR = seeds_N2[:, 1, None, None] + RADII * _SIN[:, None]
    rows = (-1, len(RADII))
    sampled = cv2.remap(plane_HW, x_NAR.reshape(rows), y_NAR.reshape(rows), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return np.asarray(sampled, np.float32).reshape(x_NAR.shape)


def _edges(polar_NAR: Float) -> Float:
    """Mean of up to _WING samples inside minus mean of as many outside of each radius; 0 at the innermost and outermost."""
    total = np.cumsum(np.pad(polar_NAR, ((0, 0), (0, 0), (1, 0))), axis=2, dtype=np.float32)
    count = len(RADII)
    edge_NAR = np.zeros_like(polar_NAR)
    for r in range(1, count - 1):
        low, high = max(r - _EDGE_WIDTH, 0), min(r + _EDGE_WIDTH + 1, count)
        inside = (total[..., r] - total[..., low]) / (r - low)
        edge_NAR[..., r] = inside - (total[..., high] - total[..., r + 1]) / (high - r - 1)
    return edge_NAR


def minimal_closed_path(cost_NAR: Float) -> NDArray[np.intp]:
    """Cheapest radius index per angle, N x A, neighbours within _MAX_JUMP; the path is run round twice and cut in mid-lap.

    Two laps bring the ends of the middle lap together in all but contrived cases; exact closure would cost a run per radius.
    """
    count, angles, radii = cost_NAR.shape
    laps = [lap % angles for lap in range(2 * angles + angles // 2)]
    best_NR = cost_NAR[:, 0]
    predecessor = np.zeros((len(laps), count, radii), np.int8)
    for index, angle in enumerate(laps[1:], 1):
        padded = np.pad(best_NR, ((0, 0), (_MAX_JUMP, _MAX_JUMP)), constant_values=np.inf)
        best_NR = padded[:, _MAX_JUMP : _MAX_JUMP + radii].copy()
        for jump in [*range(-_MAX_JUMP, 0), *range(1, _MAX_JUMP + 1)]:
            other_NR = padded[:, _MAX_JUMP + jump : _MAX_JUMP + jump + radii] + JUMP_WEIGHT * abs(jump)
            better = other_NR < best_NR
            best_NR[better] = other_NR[better]
            predecessor[index][better] = jump
        best_NR = best_NR + cost_NAR[:, angle]
    path = np.zeros((len(laps), count), np.intp)
    path[-1] = best_NR.argmin(1)
    for index in range(len(laps) - 1, 0, -1):
        path[index - 1] = path[index] + predecessor[index, np.arange(count), path[index]]
    start = angles // 2
    middle = path[start : start + angles]
    return np.roll(middle, start, axis=0).T


def contour_iou(first: RadialContours, seeds_N2: Float, second: RadialContours, shifted_N2: Float) -> Float:
    """Intersection over union, 0..1, of contours found from seeds and from shifted seeds."""
    x_NA = shifted_N2[:, :1] + second.radii * _COS - seeds_N2[:, :1]
    y_NA = shifted_N2[:, 1:] + second.radii * _SIN - seeds_N2[:, 1:]
    angle_NA, radius_NA = np.arctan2(y_NA, x_NA), np.hypot(x_NA, y_NA)
    seen_NA = np.stack([np.interp(THETA, a, r, period=2 * np.pi) for a, r in zip(angle_NA, radius_NA, strict=True)])
    low, high = np.minimum(first.radii, seen_NA), np.maximum(first.radii, seen_NA)
    return np.asarray((low**2).sum(1) / (high**2).sum(1), np.float32)


def pixel_coverage(radii_A: Float, x: float, y: float) -> tuple[int, int, Float]:
    """Part of each pixel, 0..1, that lies inside a contour: left, top and the parts in a box round it."""
    reach = int(np.ceil(float(radii_A.max()))) + 1
    left, top, side, fine = int(x) - reach, int(y) - reach, 2 * reach + 2, 4
    canvas = np.zeros((side * fine, side * fine), np.uint8)
    points = np.stack([x + radii_A * _COS - left, y + radii_A * _SIN - top], 1)
    corners = np.rint(((points + 0.5) * fine - 0.5) * 16).astype(np.int32)
    cv2.fillPoly(canvas, [corners], 1, shift=4)
    return left, top, np.asarray(cv2.resize(canvas.astype(np.float32), (side, side), interpolation=cv2.INTER_AREA), np.float32)


def contour_mask(radii_A: Float, x: float, y: float) -> tuple[int, int, NDArray[np.bool_]]:
    """Pixels whose larger part lies inside a contour: left, top and the mask of a box round it."""
    left, top, share = pixel_coverage(radii_A, x, y)
    return left, top, np.asarray(share > 0.5, bool)

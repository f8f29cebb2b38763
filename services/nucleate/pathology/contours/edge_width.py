"""How sharp nuclei are: the width of the rise of haematoxylin across their edges, from profiles along the normals."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from nucleate.pathology.instances.instance_map import inner_boundary
from nucleate.pathology.stains.haematoxylin import smoothed_haematoxylin

_REACH = 6.0
_STEP = 0.5
_MAX_PROFILES = 20_000
#: Smoothing along a profile, in px, against noise; taken off the measured width again.
_SIGMA = 1.0
_MIN_CONTRAST = 0.1
#: 10-90 % rise of a Gaussian-blurred step in units of its sigma.
_RISE = 2.563


def edge_width(rgb: NDArray[np.uint8], instances: NDArray[np.int32]) -> float:
    """Median 10-90 % width (px) of the edges between nuclei and background; 0.0 where there is none to measure.

    Each profile is taken as a step of height c blurred by a Gaussian of sigma s, whose steepest slope is c / (s sqrt(2 pi)).
    """
    profiles = _profiles(rgb, instances)
    inner, outer = profiles[:, -4:].mean(axis=1), profiles[:, :4].mean(axis=1)
    contrast = inner - outer
    slope = np.diff(profiles, axis=1).max(axis=1, initial=0.0) / _STEP
    clear = (contrast > _MIN_CONTRAST) & (slope > 0)
    if not clear.any():
        return 0.0
    sigma = float(np.median(contrast[clear] / (slope[clear] * np.sqrt(2 * np.pi))))
    return _RISE * float(np.sqrt(max(sigma**2 - _SIGMA**2, 0.0)))


def _profiles(rgb: NDArray[np.uint8], instances: NDArray[np.int32]) -> NDArray[np.float32]:
    """Haematoxylin from outside to inside along the normals of nucleus edges, (profiles, samples), float32 OD."""
    inside = instances > 0
    signed = _signed_distance(inside)
    ys, xs = np.nonzero(inner_boundary(instances) & _faces_background(inside))
    keep = slice(None, None, 1 + ys.size // _MAX_PROFILES)
    ys, xs = ys[keep], xs[keep]
    gy, gx = cv2.Sobel(signed, cv2.CV_32F, 0, 1)[ys, xs], cv2.Sobel(signed, cv2.CV_32F, 1, 0)[ys, xs]
    length = np.maximum(np.hypot(gx, gy), 1e-6)
    offsets = np.arange(-_REACH, _REACH + _STEP, _STEP, dtype=np.float32)
    map_x = (xs[:, None] + offsets * (gx / length)[:, None]).astype(np.float32)
    map_y = (ys[:, None] + offsets * (gy / length)[:, None]).astype(np.float32)
    smooth = smoothed_haematoxylin(rgb, _SIGMA)
    if ys.size == 0:
        return np.zeros((0, offsets.size), dtype=np.float32)
    # remap is limited to 32,767 rows, which _MAX_PROFILES stays below.
    return np.asarray(cv2.remap(smooth, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), dtype=np.float32)


def _signed_distance(inside: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Smoothed distance (px) to the edge, positive inside."""
    mask = inside.astype(np.uint8)
    inner = cv2.distanceTransform(mask, cv2.DIST_L2, 5)
    outer = cv2.distanceTransform(1 - mask, cv2.DIST_L2, 5)
    return np.asarray(cv2.GaussianBlur(inner - outer, (0, 0), 2.0), dtype=np.float32)


def _faces_background(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    return cv2.dilate((~inside).astype(np.uint8), cross).astype(np.bool_)

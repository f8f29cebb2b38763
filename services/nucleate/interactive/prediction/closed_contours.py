"""Closed contours of one nucleus: the network's probability and the image's edges, in a shape that nuclei have.

A network of few layers and few examples leaves masks ragged, in halves, or with the neighbour attached. Here the mask's edge is
the minimal-cost closed contour round the first click (`candidate_contours`) in the sum of the haematoxylin margin and the
network's probability at a temperature; clicks bound it, a positive one from inside and a negative one from outside. The mask
is thresholded from the mean of contour and network (`network_contour_mean`). Where no such contour fits, because the object is
large, or not star-shaped about its first click, there is none.

The image leaves open how large the nucleus is that a person has in mind, and how far outside the visible edge its contour runs:
there is a contour for each of several sizes and insets, and the corrections select among them (`contour_selection`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nucleate.interactive.clicks import Click, Mask, depth
from nucleate.interactive.cropping import crop
from nucleate.interactive.prediction.zoom_in import Frame
from nucleate.pathology.contours.minimal_cost_contour import (
    ANGLES,
    RADII,
    THETA,
    Float,
    constrained_contours,
    pixel_coverage,
    wrap_angle,
)

RADIUS_RATIO = 0.9  # expected radius over the image's typical radius
NETWORK_WEIGHT = 4.0  # of the probability against the margin
TEMPERATURE = 0.7  # divides the logits
INSET = 0.6  # px that the steepest fall lies outside the contour a person draws
MAX_FRAME = 128  # px; a larger one was chosen for an object larger than any contour
# px between a click and the contour; more overshoots small nuclei, less loses the click to INSET.
_CLEARANCE = 0.7
CLICK_DISK_SHARE, MAX_CLICK_DISK = 1.0, 8.0  # radius of a click's disk: part of its distance from the mask's edge, px
_NEAREST = 1.5  # px from the first click, within which another one has no direction
_EPSILON = 1e-4
RADIUS_FACTORS = (0.5, 0.67, 0.83, 1.0, 1.22, 1.5, 1.83)  # of the expected radius
INSETS = (-2.0, -1.0, -0.2, INSET, 1.4, 2.4, 3.4)  # px
SIZE_PENALTY, INSET_PENALTY = 0.6, 0.06  # px of error in a click that outweigh a squared log of size, a squared px of inset


@dataclass(frozen=True, eq=False)
class Contour:
    """A closed contour in polar coordinates of a frame: its centre, radii (ANGLES) in px, and the penalty of its prior, px."""

    centre: Click
    radii: Float
    prior_penalty: float

    def pixel_coverage(self, frame: Frame, image_frame: Frame, factor: float) -> Float:
        """Part of each image pixel of `image_frame`, 0..1, that lies inside the contour found in `frame`.

        `factor`: how many of the frame's pixels one image pixel is wide.
        """
        x, y = ((c + start + 0.5) / factor - 0.5 for c, start in ((self.centre.x, frame.x), (self.centre.y, frame.y)))
        left, top, share = pixel_coverage(self.radii / np.float32(factor), x - image_frame.x, y - image_frame.y)
        return crop(share, 0, 0, image_frame.size, image_frame.size, padding=0, origin=(left, top))

    def coverage_if_consistent(self, clicks: Sequence[Click], frame: Frame, image_frame: Frame, factor: float) -> Float | None:
        """As `pixel_coverage`, or None where it leaves one of the clicks, in pixels of `image_frame`, on the wrong side."""
        part, size = self.pixel_coverage(frame, image_frame, factor), image_frame.size
        inside = (c for c in clicks if 0 <= c.x < size and 0 <= c.y < size)
        return part if all((part[c.y, c.x] > 0.5) == c.positive for c in inside) else None


def candidate_contours(
    probability_HW: Float,
    margin_HW: Float,
    typical: float,
    clicks: Sequence[Click],
    previous_HW: Mask,
    *,
    all_sizes: bool = False,
) -> list[Contour]:
    """Closed contours in one frame, the smallest prior penalty first; none where the object is larger than any.

    Args:
        probability_HW: nucleus probability, 0..1.
        margin_HW: haematoxylin margin in units of the image's contrast, high inside nuclei.
        typical: radius of the image's typical nucleus, px.
        clicks: in this frame's coordinates, oldest first.
        previous_HW: the mask before the last click; its middle stands in for a first positive click.
        all_sizes: of every size and inset rather than the one expected.
    """
    centre = _centre(clicks, previous_HW)
    size = len(probability_HW)
    if centre is None or size > MAX_FRAME or not (0 <= centre.x < size and 0 <= centre.y < size):
        return []
    bounded_HW = np.clip(probability_HW, _EPSILON, 1 - _EPSILON)
    tempered_HW = 1 / (1 + (1 / bounded_HW - 1) ** np.float32(1 / TEMPERATURE))
    plane_HW = np.asarray(margin_HW + NETWORK_WEIGHT * tempered_HW, np.float32)
    sizes, insets = (RADIUS_FACTORS, INSETS) if all_sizes else ((1.0,), (INSET,))
    expected = [RADIUS_RATIO * typical * size_factor for size_factor in sizes]
    radii_NA = constrained_contours(plane_HW, (centre.x, centre.y), expected, _forbidden(centre, clicks, previous_HW))
    found = [
        Contour(centre, np.maximum(radii_A - np.float32(inset), 1), _prior_penalty(size_factor, inset))
        for size_factor, radii_A in zip(sizes, radii_NA, strict=True)
        for inset in insets
    ]
    return sorted(found, key=lambda contour: contour.prior_penalty)


def _prior_penalty(size: float, inset: float) -> float:
    return float(SIZE_PENALTY * np.log(size) ** 2 + INSET_PENALTY * (inset - INSET) ** 2)


def _centre(clicks: Sequence[Click], previous_HW: Mask) -> Click | None:
    """The first positive click, else the deepest pixel of the mask so far."""
    first = next((click for click in clicks if click.positive), None)
    if first is not None or not previous_HW.any():
        return first
    y, x = divmod(int(depth(previous_HW).argmax()), previous_HW.shape[1])
    return Click(x, y, positive=True)


def _forbidden(centre: Click, clicks: Sequence[Click], previous_HW: Mask) -> NDArray[np.bool_]:
    """Angles and radii, ANGLES x RADII, at which the contour would put a click, or a disk round it, on the wrong side.

    People click the middle of what is wrong, so a click stands for a disk that reaches most of the way to the edge of the mask
    so far; an earlier click, which that mask already obeys, keeps most of its distance from the edge.
    """
    inner_depth_HW, outer_depth_HW = depth(previous_HW), depth(~previous_HW)
    forbidden_AR = np.zeros((ANGLES, len(RADII)), bool)
    for click in clicks:
        across, down = click.x - centre.x, click.y - centre.y
        distance = float(np.hypot(across, down))
        if distance < _NEAREST:
            continue
        clearance = 0.0
        if previous_HW.any() and 0 <= click.y < len(previous_HW) and 0 <= click.x < len(previous_HW):
            clearance = float(max(inner_depth_HW[click.y, click.x], outer_depth_HW[click.y, click.x]))
        disk = max(_CLEARANCE, min(CLICK_DISK_SHARE * clearance, MAX_CLICK_DISK, distance / 2))
        turned_A = wrap_angle(np.arctan2(down, across) - THETA)
        offset_A = distance * np.sin(turned_A)
        towards_A = (np.abs(offset_A) < disk) & (np.cos(turned_A) > 0)
        half_A = np.sqrt(np.maximum(disk**2 - offset_A**2, 0))
        along_A = distance * np.cos(turned_A)
        wrong_AR = (along_A + half_A)[:, None] > RADII if click.positive else (along_A - half_A)[:, None] < RADII
        forbidden_AR |= towards_A[:, None] & wrong_AR
    return forbidden_AR

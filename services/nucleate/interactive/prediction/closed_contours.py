"""The mask of one nucleus from a closed outline: what the network believes and what the image shows, in a shape nuclei have.

A network of few layers and few examples leaves masks ragged, in halves, or with the neighbour attached. Here the mask's edge is
the strongest closed path round the first click (`outlines`) in the sum of the haematoxylin margin and the network's softened
probability; clicks bound it, a positive one from inside and a negative one from outside. The mask is what outline and network
agree on (`agreement`). Where nothing of that kind fits, because the object is large, or not to be seen whole from its first
click, there is no outline.

The image leaves open how large the nucleus is that a person has in mind, and how far outside the visible edge its contour runs:
there is an outline for each of several sizes and insets, and the corrections decide among them (`hindsight`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nucleate.interactive.clicks import Click, Mask, depth
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

TYPICAL = 0.9  # expected radius over the image's
BELIEF = 4.0  # weight of the network against the margin
SOFTENING = 0.7  # divides the logits
INSET = 0.6  # px that the steepest fall lies outside the contour a person draws
LARGEST_FRAME = 128  # px; a larger one was chosen for an object beyond the outlines' reach
_INSIDE, _OUTSIDE = 0.7, 0.7  # px between a click and the outline; more overshoots small nuclei, less loses the click to INSET
ROOM, LARGEST_ROOM = 1.0, 8.0  # of the disk that a click speaks for: part of its distance from the edge, px
_NEAREST = 1.5  # px from the first click, within which another one has no direction
_SURE = 1e-4
SIZES = (0.5, 0.67, 0.83, 1.0, 1.22, 1.5, 1.83)  # of the expected radius
INSETS = (-2.0, -1.0, -0.2, INSET, 1.4, 2.4, 3.4)  # px
SIZE_DOUBT, INSET_DOUBT = 0.6, 0.06  # px of error in a click that outweigh a squared log of size, a squared px of inset


@dataclass(frozen=True, eq=False)
class Outline:
    """A closed outline in the coordinates of one frame: its centre, radii (ANGLES) in px, and how unlikely it is beforehand."""

    centre: Click
    radii: Float
    unlikely: float

    def covering(self, frame: Frame, shown: Frame, factor: float) -> Float:
        """Part of each image pixel of `shown`, 0..1, that lies inside the outline found in `frame`.

        `factor`: how many of the frame's pixels one image pixel is wide.
        """
        x, y = ((c + start + 0.5) / factor - 0.5 for c, start in ((self.centre.x, frame.x), (self.centre.y, frame.y)))
        left, top, share = pixel_coverage(self.radii / np.float32(factor), x - shown.x, y - shown.y)
        size, side = shown.size, len(share)
        part = np.zeros((size, size), np.float32)
        rows, columns = (slice(min(max(start, 0), size), min(max(start + side, 0), size)) for start in (top, left))
        part[rows, columns] = share[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
        return part

    def serving(self, clicks: Sequence[Click], frame: Frame, shown: Frame, factor: float) -> Float | None:
        """As `covering`, or None where it leaves one of the clicks, in pixels of `shown`, on the wrong side."""
        part, size = self.covering(frame, shown, factor), shown.size
        inside = (c for c in clicks if 0 <= c.x < size and 0 <= c.y < size)
        return part if all((part[c.y, c.x] > 0.5) == c.positive for c in inside) else None


def outlines(
    probability_HW: Float, margin_HW: Float, typical: float, clicks: Sequence[Click], previous_HW: Mask, *, many: bool = False
) -> list[Outline]:
    """Closed outlines in one frame, the likeliest first; none where the object is beyond their reach.

    Args:
        probability_HW: nucleus probability, 0..1.
        margin_HW: haematoxylin margin in units of the image's contrast, high inside nuclei.
        typical: radius of the image's typical nucleus, px.
        clicks: in this frame's coordinates, oldest first.
        previous_HW: the mask before the last click; its middle stands in for a first positive click.
        many: of every size and inset rather than the one expected.
    """
    centre = _centre(clicks, previous_HW)
    size = len(probability_HW)
    if centre is None or size > LARGEST_FRAME or not (0 <= centre.x < size and 0 <= centre.y < size):
        return []
    bounded_HW = np.clip(probability_HW, _SURE, 1 - _SURE)
    belief_HW = 1 / (1 + (1 / bounded_HW - 1) ** np.float32(1 / SOFTENING))
    plane_HW = np.asarray(margin_HW + BELIEF * belief_HW, np.float32)
    sizes, insets = (SIZES, INSETS) if many else ((1.0,), (INSET,))
    expected = [TYPICAL * typical * each for each in sizes]
    radii_NA = constrained_contours(plane_HW, (centre.x, centre.y), expected, _forbidden(centre, clicks, previous_HW))
    found = [
        Outline(centre, np.maximum(radii_A - np.float32(inset), 1), _unlikely(each, inset))
        for each, radii_A in zip(sizes, radii_NA, strict=True)
        for inset in insets
    ]
    return sorted(found, key=lambda outline: outline.unlikely)


def _unlikely(size: float, inset: float) -> float:
    return float(SIZE_DOUBT * np.log(size) ** 2 + INSET_DOUBT * (inset - INSET) ** 2)


def _centre(clicks: Sequence[Click], previous_HW: Mask) -> Click | None:
    """The first positive click, else the deepest pixel of the mask so far."""
    first = next((click for click in clicks if click.positive), None)
    if first is not None or not previous_HW.any():
        return first
    y, x = divmod(int(depth(previous_HW).argmax()), previous_HW.shape[1])
    return Click(x, y, positive=True)


def _forbidden(centre: Click, clicks: Sequence[Click], previous_HW: Mask) -> NDArray[np.bool_]:
    """Places of the polar view, ANGLES x radii, that would put a click, or a disk round it, on the wrong side.

    People click the middle of what is wrong, so a click speaks for a disk that reaches most of the way to the edge of the mask
    so far; an earlier click, which that mask already obeys, keeps most of the room that it has.
    """
    deep_HW, far_HW = depth(previous_HW), depth(~previous_HW)
    forbidden_AR = np.zeros((ANGLES, len(RADII)), bool)
    for click in clicks:
        across, down = click.x - centre.x, click.y - centre.y
        distance = float(np.hypot(across, down))
        if distance < _NEAREST:
            continue
        room = 0.0
        if previous_HW.any() and 0 <= click.y < len(previous_HW) and 0 <= click.x < len(previous_HW):
            room = float(max(deep_HW[click.y, click.x], far_HW[click.y, click.x]))
        disk = max(_INSIDE if click.positive else _OUTSIDE, min(ROOM * room, LARGEST_ROOM, distance / 2))
        turned_A = wrap_angle(np.arctan2(down, across) - THETA)
        offset_A = distance * np.sin(turned_A)
        towards_A = (np.abs(offset_A) < disk) & (np.cos(turned_A) > 0)
        half_A = np.sqrt(np.maximum(disk**2 - offset_A**2, 0))
        along_A = distance * np.cos(turned_A)
        wrong_AR = (along_A + half_A)[:, None] > RADII if click.positive else (along_A - half_A)[:, None] < RADII
        forbidden_AR |= towards_A[:, None] & wrong_AR
    return forbidden_AR

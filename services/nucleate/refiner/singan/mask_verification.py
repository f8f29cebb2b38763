"""Verification of masks after harmonization: report section 5.2 says that the shape moved and its mask no longer applied.

Every pasted nucleus is measured on the haematoxylin plane before and after. Pixels are stained where they are darker than the
level half-way between the nucleus's inside and the ring around it; the mask is changed by the pixels that became stained or
ceased to be, and by nothing else: what the level misses of a pale nucleus both before and after says nothing about a change.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from nucleate.errors import InvalidMask, SizeMismatch
from nucleate.pathology.instances.instance_map import bounding_boxes, check_instance_map
from nucleate.pathology.stains.haematoxylin import smoothed_haematoxylin
from nucleate.refiner.singan.pyramid import require_rgb
from nucleate.refiner.singan.windows import Box, feathered_region

MIN_KEPT_IOU = 0.85  # intersection over union of the old and the re-estimated mask
MIN_REESTIMATED_IOU = 0.5
REACH = 4  # pixels that a contour may have moved outwards
RING = (2, 8)  # pixels from the old mask, where the surroundings are measured
MIN_RING = 20  # pixels
INSIDE_PERCENTILE = 75  # the stained part of a nucleus, also of one that lost half of its area
SMOOTHING = 1.0  # pixels, sigma
MIN_CONTRAST = 0.08  # optical density; as the mask gate has it, fainter contours have no measurable place
MIN_SOLIDITY = 0.7  # of the stained share before: a nucleus blended into a ring is none
MAX_LEAK = 0.25  # of the outermost pixels in reach; a mask that fills more would be cut off there
RESTORED = 2  # pixels around a rejected nucleus over which its old pixels fade in

Plane = NDArray[np.float32]
Mask = NDArray[np.bool_]


class Decision(Enum):
    """What happened to the mask of a pasted nucleus."""

    KEPT = "kept"
    REESTIMATED = "re-estimated"
    REJECTED = "rejected"


@dataclass(frozen=True)
class NucleusMask:
    """`iou` (0..1) is of the old and the re-estimated mask, 0 where none could be estimated; `reason` is of a rejection."""

    label: int
    iou: float
    decision: Decision
    reason: str = ""


@dataclass(frozen=True)
class _Scene:
    """Haematoxylin before and after, the pixels that differ, and the instance maps before and (filled in) after."""

    planes: tuple[Plane, Plane]
    changed: Mask
    old: NDArray[np.int32]
    new: NDArray[np.int32]


@dataclass(frozen=True)
class VerifiedPair:
    """Image (HW3 uint8) and instance map (HW int32) that belong together, and the mask of every pasted label, ascending."""

    image: NDArray[np.uint8]
    instances: NDArray[np.int32]
    nuclei: tuple[NucleusMask, ...]


def verify_masks(
    before_HW3: NDArray[np.uint8],
    after_HW3: NDArray[np.uint8],
    instances_HW: NDArray[np.integer],
    pasted: Iterable[int],
) -> VerifiedPair:
    """Keeps, re-estimates or rejects the mask of each pasted nucleus after harmonization.

    From an IoU of .85 the old mask stays; from .5 the re-estimated one takes its place; below, or where the nucleus vanished or
    ran into its surroundings, it is rejected: its pixels go back to those before, fading out over 2 px of background, and its
    old mask stays. Masks grow into old background only, in the order of labels, so none overlaps another.

    Args:
        before_HW3: uint8 RGB naive composite, to which `instances_HW` belongs.
        after_HW3: uint8 RGB, the same harmonized.
        instances_HW: labels > 0, of pasted and other nuclei.
        pasted: labels to look at. All others keep their masks; ask for those beside pasted ones too, if blending reached them.

    Raises:
        InvalidImage, InvalidMask: not uint8 RGB, or not an instance map.
        InvalidMask: a pasted label does not occur in the map.
        SizeMismatch: the three differ in size.
    """
    require_rgb(before_HW3, "the composite")
    require_rgb(after_HW3, "the harmonized image")
    old_HW = check_instance_map(instances_HW).astype(np.int32)
    if not before_HW3.shape[:2] == after_HW3.shape[:2] == old_HW.shape:
        raise SizeMismatch(f"mask check: sizes differ: {before_HW3.shape[:2]}, {after_HW3.shape[:2]}, {old_HW.shape}")
    changed_HW = (before_HW3 != after_HW3).any(axis=2)
    scene = _Scene(
        (smoothed_haematoxylin(before_HW3, SMOOTHING), smoothed_haematoxylin(after_HW3, SMOOTHING)),
        changed_HW,
        old_HW,
        old_HW.copy(),
    )
    image_HW3, nuclei = after_HW3.copy(), []
    neighbourhoods = _neighbourhoods(old_HW, pasted)
    for label, around in neighbourhoods.items():
        nucleus, mask = _verify_mask(label, scene, around)
        if nucleus.decision is Decision.REESTIMATED:
            region = scene.new[around]
            region[region == label] = 0
            region[mask] = label
        nuclei.append(nucleus)
    # After all masks, so that no re-estimated neighbour loses pixels that its new mask rests on.
    for nucleus in nuclei:
        if nucleus.decision is Decision.REJECTED:
            _restore(image_HW3, before_HW3, scene, nucleus.label, neighbourhoods[nucleus.label])
    return VerifiedPair(image_HW3, scene.new, tuple(nuclei))


def _neighbourhoods(old_HW: NDArray[np.int32], pasted: Iterable[int]) -> dict[int, Box]:
    """Boxes of the pasted nuclei with their rings, in the order of labels."""
    found, neighbourhoods = bounding_boxes(old_HW), {}
    for label in sorted(set(pasted)):
        box = found[label - 1] if 0 < label <= len(found) else None
        if box is None:
            raise InvalidMask(f"the pasted nucleus {label} does not occur in the instance map")
        neighbourhoods[label] = _expanded(box, old_HW.shape, RING[1])
    return neighbourhoods


def _verify_mask(label: int, scene: _Scene, around: Box) -> tuple[NucleusMask, Mask]:
    old, new = scene.old[around], scene.new[around]
    mask = old == label
    distance = ndimage.distance_transform_edt(~mask)
    if not scene.changed[around][distance <= RING[1]].any():
        return NucleusMask(label, 1.0, Decision.KEPT), mask
    ring = (distance > RING[0]) & (distance <= RING[1]) & (old == 0)
    if int(ring.sum()) < MIN_RING:
        return _rejected(label, "too crowded to measure"), mask
    reach = mask | ((distance <= REACH) & (old == 0) & (new == 0))
    before, after = (_stained_region(plane[around], mask, ring, reach) for plane in scene.planes)
    if reason := _not_measurable(before, after):
        return _rejected(label, reason), mask
    moved = (mask & ~(before.pixels & ~after.pixels)) | (after.pixels & ~before.pixels)
    found = _main_component(moved, mask)
    rim = (distance > REACH - 1) & (distance <= REACH)
    if (found & rim).sum() > MAX_LEAK * rim.sum():
        return _rejected(label, "ran into its surroundings"), mask
    iou = float((found & mask).sum() / (found | mask).sum())
    if iou < MIN_REESTIMATED_IOU:
        return NucleusMask(label, iou, Decision.REJECTED, "lost its shape"), mask
    return NucleusMask(label, iou, Decision.KEPT if iou >= MIN_KEPT_IOU else Decision.REESTIMATED), found


def _not_measurable(before: _StainedRegion, after: _StainedRegion) -> str:
    """Why the contour cannot be measured; "" if it can."""
    if min(before.contrast, after.contrast) < MIN_CONTRAST:
        return "no contrast to the surroundings"
    return "hollow" if after.solid < MIN_SOLIDITY * before.solid else ""


def _rejected(label: int, reason: str) -> NucleusMask:
    return NucleusMask(label, 0.0, Decision.REJECTED, reason)


@dataclass(frozen=True)
class _StainedRegion:
    """Stained pixels with their holes filled, what share of them were none, and inside minus ring in optical density."""

    pixels: Mask
    solid: float
    contrast: float


def _stained_region(plane: Plane, mask: Mask, ring: Mask, reach: Mask) -> _StainedRegion:
    """What is above the half-way level within reach."""
    inside, outside = float(np.percentile(plane[mask], INSIDE_PERCENTILE)), float(np.median(plane[ring]))
    above = (plane > (inside + outside) / 2) & reach
    filled: Mask = ndimage.binary_fill_holes(above) & reach
    return _StainedRegion(filled, float(above.sum()) / max(int(filled.sum()), 1), inside - outside)


def _main_component(moved: Mask, mask: Mask) -> Mask:
    """Without slivers: opened by a 3x3 cross, then the part that shares most pixels with the old mask; empty if none does."""
    parts, count = ndimage.label(ndimage.binary_opening(moved))
    shared = np.bincount(parts[mask], minlength=count + 1)
    shared[0] = 0
    if not shared.any():
        return np.zeros_like(mask)
    found: Mask = ndimage.binary_fill_holes(parts == shared.argmax()) & moved
    return found


def _expanded(box: Box, size: tuple[int, ...], margin: int) -> Box:
    rows, columns = (
        slice(max(part.start - margin, 0), min(part.stop + margin, length)) for part, length in zip(box, size, strict=True)
    )
    return rows, columns


def _restore(
    image_HW3: NDArray[np.uint8],
    before_HW3: NDArray[np.uint8],
    scene: _Scene,
    label: int,
    around: Box,
) -> None:
    """Old pixels on the nucleus, mixed ones on the background beside it; never on a pixel that is or was another's."""
    old, new = scene.old[around], scene.new[around]
    mine = old == label
    weight = np.where(mine | ((old == 0) & (new == 0)), feathered_region(mine, 0, RESTORED), 0.0)[..., None]
    mixed = weight * before_HW3[around] + (1.0 - weight) * image_HW3[around]
    image_HW3[around] = np.rint(mixed).astype(np.uint8)

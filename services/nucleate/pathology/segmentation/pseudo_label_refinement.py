"""Pseudo-labels drawn anew: outlines round old labels and dark blobs, the clearest first, and which of them to train on.

Measured on the Kumar pool: where a label meets a nucleus at all, its mean IoU rises from .62 to .70; against the masks the maps
score AJI .440 and PQ .426 in place of .412 and .345.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from nucleate.pathology.contours.minimal_cost_contour import Float, Outlines, fill, find_outlines, moved_agreement
from nucleate.pathology.instances.distance_transform import squared_depth
from nucleate.pathology.instances.typical_radius import typical_radius
from nucleate.pathology.segmentation import classical
from nucleate.pathology.stains import standardised_input

TYPICAL = 0.9  # radius that outlines are expected to have over that of the blobs
INSET = 0.65  # px that the steepest fall lies outside the contour a person draws
BLOB_SIGMAS = (0.35, 0.6)  # of the typical radius
LEAST_BLOB = 0.3
LEAST_AREA = 25
MOST_OVERLAP = 0.2  # of an outline's area may be taken by a clearer one
MOVES, MOVE_SIGMA = 3, 2.0
LEAST_AGREEMENT, LEAST_CLEARNESS, LEAST_WEAKEST = 0.6, 0.65, 0.5  # the last relative to the upper quartile of the labels


def pseudo_labels(rgb: NDArray[np.uint8]) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """The classical segmentation of an image drawn anew, for training: instance map HW int32 and pixels to ignore HW bool.

    What either segmentation takes for a nucleus or is unsure of, and no outline covers, is ignored: half of those pixels are
    nuclei. Where nothing can be drawn, the classical labels stay.
    """
    instances_HW, unsure_HW = classical.segment_with_ignore(rgb)
    margin_HW = standardised_input.margin(standardised_input.planes(rgb))
    drawn_HW, trusted = redraw(margin_HW, typical_radius(margin_HW), instances_HW)
    if not trusted:
        return instances_HW, unsure_HW
    return drawn_HW, (drawn_HW == 0) & (unsure_HW | (instances_HW > 0))


def redraw(margin_HW: Float, radius: float, instances_HW: NDArray[np.int32]) -> tuple[NDArray[np.int32], list[int]]:
    """New instance map of the whole image and the labels in it that are trusted.

    The others still show where neighbours lie. Without any old label nothing is drawn.

    Args:
        margin_HW: haematoxylin margin of the whole image, as of `appearance.margin`.
        radius: of the image's typical nucleus in px, as of `scale.typical_radius`.
        instances_HW: labels so far; they give seeds.
    """
    drawn_HW = np.zeros_like(instances_HW)
    centres_N2 = _deepest_points(instances_HW)
    if not len(centres_N2):
        return drawn_HW, []
    typical = TYPICAL * radius
    seeds_N2 = np.concatenate([centres_N2, _blobs(margin_HW, typical)])
    outlines, chosen = _draw(margin_HW, typical, seeds_N2, len(centres_N2), drawn_HW)
    trusted = _trusted(margin_HW, _taken(outlines, chosen), seeds_N2[chosen], typical)
    return drawn_HW, (np.flatnonzero(trusted) + 1).tolist()


def outlined(margin_HW: Float, radius: float, instances_HW: NDArray[np.int32]) -> NDArray[np.int32]:
    """The labels whose outlines are clear enough, drawn as these; instance map of the whole image. None is added.

    Args:
        margin_HW: haematoxylin margin of the whole image, as of `appearance.margin`.
        radius: of the image's typical nucleus in px, as of `scale.typical_radius`.
        instances_HW: labels so far.
    """
    drawn_HW = np.zeros_like(instances_HW)
    centres_N2 = _deepest_points(instances_HW)
    if len(centres_N2):
        _draw(margin_HW, TYPICAL * radius, centres_N2, len(centres_N2), drawn_HW)
    return drawn_HW


def _draw(
    margin_HW: Float, typical: float, seeds_N2: Float, labels: int, drawn_HW: NDArray[np.int32]
) -> tuple[Outlines, list[int]]:
    """Draw what is clear enough beside the outlines of the first `labels` seeds; all outlines, and the indices drawn."""
    outlines = find_outlines(margin_HW, seeds_N2, typical)
    least = LEAST_WEAKEST * float(np.quantile(outlines.weakest[:labels], 0.75))
    return outlines, list(_draw_clearest(outlines, seeds_N2, least, drawn_HW))


def _deepest_points(instances_HW: NDArray[np.int32]) -> Float:
    """x, y of the pixel of each label that is farthest from its edge."""
    points = []
    for label, box in enumerate(ndimage.find_objects(instances_HW), 1):
        if box is None:
            continue
        depth = squared_depth(instances_HW[box] == label)
        y, x = divmod(int(depth.argmax()), depth.shape[1])
        points.append((box[1].start + x, box[0].start + y))
    return np.array(points, np.float32).reshape(-1, 2)


def _blobs(margin_HW: Float, typical: float) -> Float:
    """x, y of the maxima of the scale-normalised Laplacian: dark blobs, also those the labels miss."""
    bounded_HW = np.clip(margin_HW, -1.5, 1.5)
    points = []
    for sigma in (typical * share for share in BLOB_SIGMAS):
        smooth_HW = cv2.GaussianBlur(bounded_HW, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
        blob_HW = -np.asarray(cv2.Laplacian(smooth_HW, cv2.CV_32F, ksize=3)) * sigma**2
        peaks_HW = (blob_HW >= cv2.dilate(blob_HW, np.ones((7, 7), np.uint8))) & (blob_HW > LEAST_BLOB)
        points.append(np.argwhere(peaks_HW)[:, ::-1])
    return np.concatenate(points).astype(np.float32)


def _draw_clearest(outlines: Outlines, seeds_N2: Float, least: float, drawn_HW: NDArray[np.int32]) -> Iterator[int]:
    """Draw outlines with a clear enough weakest part, best first, labels 1, 2, …; yields their indices."""
    height, width = drawn_HW.shape
    label = 0
    for index in np.argsort(-outlines.weakest, kind="stable"):
        x, y = (float(v) for v in seeds_N2[index])
        if outlines.weakest[index] < least:
            return
        if drawn_HW[int(y), int(x)]:
            continue
        left, top, mask = fill(np.maximum(outlines.radii[index] - INSET, 1), x, y)
        rows = slice(max(top, 0), min(top + len(mask), height))
        columns = slice(max(left, 0), min(left + len(mask), width))
        inside = mask[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
        taken = drawn_HW[rows, columns] > 0
        area = np.count_nonzero(inside)
        if area < LEAST_AREA or np.count_nonzero(inside & taken) > MOST_OVERLAP * area:
            continue
        label += 1
        drawn_HW[rows, columns][inside & ~taken] = label
        yield int(index)


def _taken(outlines: Outlines, chosen: list[int]) -> Outlines:
    return Outlines(outlines.radii[chosen], outlines.clearness[chosen], outlines.weakest[chosen])


def _trusted(margin_HW: Float, outlines: Outlines, seeds_N2: Float, typical: float) -> NDArray[np.bool_]:
    """Clear outlines that seeds a few pixels off find as well."""
    rng = np.random.default_rng(0)
    worst = np.ones(len(seeds_N2), np.float32)
    for _ in range(MOVES):
        moved_N2 = (seeds_N2 + rng.normal(0, MOVE_SIGMA, seeds_N2.shape)).astype(np.float32)
        again = find_outlines(margin_HW, moved_N2, typical)
        worst = np.minimum(worst, moved_agreement(outlines, seeds_N2, again, moved_N2))
    return np.asarray((worst >= LEAST_AGREEMENT) & (outlines.clearness >= LEAST_CLEARNESS), bool)

"""Pseudo-labels refined by minimal-cost closed contours round old labels and dark blobs, and which of them to train on.

Measured on the Kumar pool: where a label meets a nucleus at all, its mean IoU rises from .62 to .70; against the masks the maps
score AJI .440 and PQ .426 in place of .412 and .345.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from nucleate.pathology.contours.minimal_cost_contour import (
    Float,
    RadialContours,
    contour_iou,
    contour_mask,
    minimal_cost_contours,
)
from nucleate.pathology.instances.distance_transform import squared_distance_transform
from nucleate.pathology.segmentation import classical
from nucleate.pathology.stains.haematoxylin import reflected_gaussian

CONTOUR_OVER_BLOB_RADIUS = 0.9  # radius that contours are expected to have over that of the blobs
INSET = 0.65  # px that the steepest fall lies outside the contour a person draws
BLOB_SIGMAS = (0.35, 0.6)  # of the typical radius
MIN_BLOB = 0.3
MIN_AREA = 25
MAX_OVERLAP = 0.2  # of a contour's area may be taken by a stronger one
SEED_SHIFTS, SEED_SHIFT_SIGMA = 3, 2.0
MIN_SHIFT_IOU, MIN_RELATIVE_EDGE, MIN_EDGE_QUANTILE = 0.6, 0.65, 0.5  # the last relative to the upper quartile of the labels


def pseudo_labels(rgb: NDArray[np.uint8], margin_HW: Float, radius: float) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """The classical segmentation of an image, refined, for training: instance map HW int32 and pixels to ignore HW bool.

    What either segmentation takes for a nucleus or is unsure of, and no contour covers, is ignored: half of those pixels are
    nuclei. Where no contour is reliable, the classical labels stay.
    """
    instances_HW, uncertain_HW = classical.segment_with_ignore(rgb)
    refined_HW, reliable = refine_labels(margin_HW, radius, instances_HW)
    if not reliable:
        return instances_HW, uncertain_HW
    return refined_HW, (refined_HW == 0) & (uncertain_HW | (instances_HW > 0))


def refine_labels(margin_HW: Float, radius: float, instances_HW: NDArray[np.int32]) -> tuple[NDArray[np.int32], list[int]]:
    """Refined instance map of the whole image and the labels in it that are reliable enough to train on.

    The others still show where neighbours lie. Without any old label the map is empty.

    Args:
        margin_HW: haematoxylin margin of the whole image, as of `standardised_input.haematoxylin_margin`.
        radius: of the image's typical nucleus in px, as of `typical_radius`.
        instances_HW: labels so far; they give the seeds.
    """
    refined_HW = np.zeros_like(instances_HW)
    centres_N2 = _inner_points(instances_HW)
    if not len(centres_N2):
        return refined_HW, []
    typical = CONTOUR_OVER_BLOB_RADIUS * radius
    seeds_N2 = np.concatenate([centres_N2, _blob_centres(margin_HW, typical)])
    contours, drawn = _draw_contours(margin_HW, typical, seeds_N2, len(centres_N2), refined_HW)
    reliable = _stable(margin_HW, _subset(contours, drawn), seeds_N2[drawn], typical)
    return refined_HW, (np.flatnonzero(reliable) + 1).tolist()


def labels_from_contours(margin_HW: Float, radius: float, instances_HW: NDArray[np.int32]) -> NDArray[np.int32]:
    """The labels whose contours are strong enough, replaced by these; instance map of the whole image. None is added.

    Args:
        margin_HW: haematoxylin margin of the whole image, as of `standardised_input.haematoxylin_margin`.
        radius: of the image's typical nucleus in px, as of `typical_radius`.
        instances_HW: labels so far.
    """
    refined_HW = np.zeros_like(instances_HW)
    centres_N2 = _inner_points(instances_HW)
    if len(centres_N2):
        _draw_contours(margin_HW, CONTOUR_OVER_BLOB_RADIUS * radius, centres_N2, len(centres_N2), refined_HW)
    return refined_HW


def _draw_contours(
    margin_HW: Float, typical: float, seeds_N2: Float, labels: int, refined_HW: NDArray[np.int32]
) -> tuple[RadialContours, list[int]]:
    """Draw what is strong enough beside the contours of the first `labels` seeds; all contours, and the indices drawn."""
    contours = minimal_cost_contours(margin_HW, seeds_N2, typical)
    minimum = MIN_EDGE_QUANTILE * float(np.quantile(contours.edge_quantile[:labels], 0.75))
    return contours, list(_draw_strongest_first(contours, seeds_N2, minimum, refined_HW))


def _inner_points(instances_HW: NDArray[np.int32]) -> Float:
    """x, y of the pixel of each label that is farthest from its edge."""
    points = []
    for label, box in enumerate(ndimage.find_objects(instances_HW), 1):
        if box is None:
            continue
        depth = squared_distance_transform(instances_HW[box] == label)
        y, x = divmod(int(depth.argmax()), depth.shape[1])
        points.append((box[1].start + x, box[0].start + y))
    return np.array(points, np.float32).reshape(-1, 2)


def _blob_centres(margin_HW: Float, typical: float) -> Float:
    """x, y of the maxima of the scale-normalised Laplacian: dark blobs, also those the labels miss."""
    bounded_HW = np.clip(margin_HW, -1.5, 1.5)
    points = []
    for sigma in (typical * share for share in BLOB_SIGMAS):
        smooth_HW = reflected_gaussian(bounded_HW, sigma)
        blob_HW = -np.asarray(cv2.Laplacian(smooth_HW, cv2.CV_32F, ksize=3)) * sigma**2
        peaks_HW = (blob_HW >= cv2.dilate(blob_HW, np.ones((7, 7), np.uint8))) & (blob_HW > MIN_BLOB)
        points.append(np.argwhere(peaks_HW)[:, ::-1])
    return np.concatenate(points).astype(np.float32)


def _draw_strongest_first(
    contours: RadialContours, seeds_N2: Float, minimum: float, refined_HW: NDArray[np.int32]
) -> Iterator[int]:
    """Draw contours of at least the edge quantile `minimum`, strongest first, labels 1, 2, …; yields their indices."""
    height, width = refined_HW.shape
    label = 0
    for index in np.argsort(-contours.edge_quantile, kind="stable"):
        x, y = (float(v) for v in seeds_N2[index])
        if contours.edge_quantile[index] < minimum:
            return
        if refined_HW[int(y), int(x)]:
            continue
        left, top, mask = contour_mask(np.maximum(contours.radii[index] - INSET, 1), x, y)
        rows = slice(max(top, 0), min(top + len(mask), height))
        columns = slice(max(left, 0), min(left + len(mask), width))
        inside = mask[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
        taken = refined_HW[rows, columns] > 0
        area = np.count_nonzero(inside)
        if area < MIN_AREA or np.count_nonzero(inside & taken) > MAX_OVERLAP * area:
            continue
        label += 1
        refined_HW[rows, columns][inside & ~taken] = label
        yield int(index)


def _subset(contours: RadialContours, drawn: list[int]) -> RadialContours:
    return RadialContours(contours.radii[drawn], contours.relative_edge[drawn], contours.edge_quantile[drawn])


def _stable(margin_HW: Float, contours: RadialContours, seeds_N2: Float, typical: float) -> NDArray[np.bool_]:
    """Contours along clear edges that seeds shifted by a few pixels find as well."""
    rng = np.random.default_rng(0)
    min_iou = np.ones(len(seeds_N2), np.float32)
    for _ in range(SEED_SHIFTS):
        shifted_N2 = (seeds_N2 + rng.normal(0, SEED_SHIFT_SIGMA, seeds_N2.shape)).astype(np.float32)
        again = minimal_cost_contours(margin_HW, shifted_N2, typical)
        min_iou = np.minimum(min_iou, contour_iou(contours, seeds_N2, again, shifted_N2))
    return np.asarray((min_iou >= MIN_SHIFT_IOU) & (contours.relative_edge >= MIN_RELATIVE_EDGE), bool)

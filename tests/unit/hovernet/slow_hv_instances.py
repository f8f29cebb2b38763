"""The published post-processing and instance dictionary, step by step, whole images in float64 (Graham et al. 2019, 3.2)."""

from __future__ import annotations

import cv2
import numpy as np
from scipy import ndimage
from skimage.segmentation import watershed


def unit(plane):
    return (plane - plane.min()) / (plane.max() - plane.min())


def large(mask, smallest=10):
    """Label the 4-connected parts and leave out the small ones."""
    labels, count = ndimage.label(mask)
    sizes = ndimage.sum_labels(mask, labels, np.arange(count + 1))
    return np.where((sizes >= smallest)[labels], labels, 0)


def instances(nuclear, hv):
    blob = large(nuclear >= 0.5) > 0
    across, down = (1 - unit(cv2.Sobel(unit(hv[i].astype(float)), cv2.CV_64F, 1 - i, i, ksize=21)) for i in (0, 1))
    edges = np.maximum(np.maximum(across, down) - ~blob, 0)
    energy = -cv2.GaussianBlur((1 - edges) * blob, (3, 3), 0)
    marker = ndimage.binary_fill_holes(blob & (edges < 0.4)).astype(np.uint8)
    marker = cv2.morphologyEx(marker, cv2.MORPH_OPEN, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5)))
    return watershed(energy, large(marker), mask=blob)


def dictionary(found, nuclear, types=None):
    """One mask of the whole image per nucleus."""
    entries = {}
    for label in np.unique(found)[1:]:
        mask = found == label
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
        crop = mask[top:bottom, left:right].astype(np.uint8)
        moments = cv2.moments(crop)
        contour = cv2.findContours(crop, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)[0][0][:, 0]
        entry = {
            "box": (top, left, bottom, right),
            "centroid": (moments["m10"] / moments["m00"] + left, moments["m01"] / moments["m00"] + top),
            "contour": contour + np.array((left, top)),
            "probability": nuclear[mask].mean(),
        }
        if types is not None:
            ranked = sorted(zip(*np.unique(types[mask], return_counts=True), strict=True), key=lambda pair: -pair[1])
            kind, pixels = ranked[0] if ranked[0][0] or len(ranked) == 1 else ranked[1]
            entry |= {"kind": kind, "kind_probability": pixels / mask.sum() if kind else 0}
        entries[int(label)] = entry
    return entries

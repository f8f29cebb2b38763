"""Pictures for people: contours over an image and mosaics of images."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from nucleate.errors import EmptyInput, SizeMismatch
from nucleate.pathology.instances.instance_map import check_instance_map, inner_boundary

Colour = tuple[int, int, int]

#: Colours of Okabe and Ito that all kinds of colour vision tell apart, chosen to stand out on pink and purple.
YELLOW: Colour = (240, 228, 66)
SKY: Colour = (86, 180, 233)
GREEN: Colour = (0, 158, 115)
VERMILION: Colour = (213, 94, 0)
WHITE: Colour = (255, 255, 255)


def contours_over(
    rgb: NDArray[np.uint8], instances: ArrayLike, colour: Colour = YELLOW, *, thickness: int = 1
) -> NDArray[np.uint8]:
    """Copy of an HWC uint8 RGB image with the contour of every nucleus drawn inside it, `thickness` (1 or more) px wide.

    Touching nuclei stay apart. Raises `InvalidMask` for a bad map and `SizeMismatch` when the sizes differ.
    """
    labels = check_instance_map(instances)
    if labels.shape != rgb.shape[:2]:
        raise SizeMismatch(f"the instance map is {labels.shape} and the image {rgb.shape[:2]}: draw a map on its own image")
    edge = inner_boundary(labels)
    if thickness > 1:
        cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
        edge = cv2.dilate(edge.astype(np.uint8), cross, iterations=thickness - 1).astype(np.bool_) & (labels > 0)
    drawn = rgb.copy()
    drawn[edge] = colour
    return drawn


def mosaic(rows: Sequence[Sequence[NDArray[np.uint8]]], gap: int = 4, background: Colour = WHITE) -> NDArray[np.uint8]:
    """Put rows of HWC uint8 RGB images on one canvas, `gap` px between and around them; sizes may differ, rows may be short.

    Columns are as wide as their widest image and rows as high as their highest. Raises `EmptyInput` where there is no image.
    """
    if not any(len(row) for row in rows):
        raise EmptyInput("a mosaic needs at least one image")
    columns = max(len(row) for row in rows)
    widths = [max((row[c].shape[1] for row in rows if c < len(row)), default=0) for c in range(columns)]
    heights = [max((image.shape[0] for image in row), default=0) for row in rows]
    canvas = np.empty((sum(heights) + gap * (len(rows) + 1), sum(widths) + gap * (columns + 1), 3), dtype=np.uint8)
    canvas[:] = background
    for r, row in enumerate(rows):
        top = gap * (r + 1) + sum(heights[:r])
        for c, image in enumerate(row):
            left = gap * (c + 1) + sum(widths[:c])
            canvas[top : top + image.shape[0], left : left + image.shape[1]] = image
    return canvas

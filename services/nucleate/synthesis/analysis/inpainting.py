"""Inpainting: smooth colour by push-pull, fine detail copied from nearby.

Push-pull averages the known pixels into a pyramid and lets the gaps take the colour of the finest level that knows one
(Gortler et al., "The Lumigraph", SIGGRAPH 1996). That is smooth; the texture that is missing then is real: the detail of
known pixels a short shift away, scaled to the contrast of the place it goes to.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

_MIN_SIDE = 2
_TINY = np.float32(1e-6)
#: Structures wider than about 2**3 px are colour, finer ones are detail.
BASE_LEVEL = 3
_SHIFTS = 40
_LONGEST_SHIFT = 96.0
#: Two places are alike when their smooth density differs by less than this many standard deviations of the image.
_SIMILAR_DENSITY = 0.5


def push_pull(values_HWC: NDArray[np.float32], known_HW: NDArray[np.bool_], level: int = 0) -> NDArray[np.float32]:
    """Smooth HWC float32 image that follows the known pixels at the scale of 2**level px and fills the others.

    Where nothing at all is known the result is 0.
    """
    pyramid = [(values_HWC * known_HW[..., None], known_HW.astype(np.float32))]
    while min(pyramid[-1][1].shape) > _MIN_SIDE:
        values, weight = (np.asarray(cv2.pyrDown(plane), dtype=np.float32) for plane in pyramid[-1])
        pyramid.append((values.reshape(*weight.shape, -1), weight))
    filled = np.asarray(pyramid[-1][0] / np.maximum(pyramid[-1][1], _TINY)[..., None], dtype=np.float32)
    for depth in range(len(pyramid) - 2, -1, -1):
        values, weight = pyramid[depth]
        filled = np.asarray(cv2.pyrUp(filled, dstsize=weight.shape[::-1]), dtype=np.float32).reshape(*weight.shape, -1)
        if depth >= level:
            confidence = np.minimum(2 * weight, 1)[..., None]
            filled += confidence * (values / np.maximum(weight, _TINY)[..., None] - filled)
    return filled


def inpaint_detail(
    values_HWC: NDArray[np.float32], known_HW: NDArray[np.bool_], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Fill the unknown pixels of HWC float32 `values_HWC`; known ones stay as they are but for a seam of two pixels."""
    base = push_pull(values_HWC, known_HW, BASE_LEVEL)
    detail = (values_HWC - base) * known_HW[..., None]
    power = push_pull((detail**2).mean(axis=2, keepdims=True), known_HW, BASE_LEVEL + 1)
    contrast = np.sqrt(np.maximum(power, _TINY))
    copied = (
        copy_detail(
            np.asarray(detail / contrast, dtype=np.float32), base.mean(axis=2), known_HW, reliable_source(known_HW), rng
        )
        * contrast
    )
    own = cv2.GaussianBlur(cv2.erode(known_HW.astype(np.float32), np.ones((3, 3), np.uint8)), (3, 3), 0)[..., None]
    own = own.astype(np.float32) * known_HW[..., None]
    # Mixing two independent textures loses contrast at half and half: restore the variance.
    mixed = (own * detail + (1 - own) * copied) / np.sqrt(own**2 + (1 - own) ** 2)
    return np.asarray(base + mixed, dtype=np.float32)


def reliable_source(known_HW: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Known pixels away from the edge of the gaps, where what was cut out still shows; all known ones where few are left."""
    inner = cv2.erode(known_HW.astype(np.uint8), np.ones((5, 5), np.uint8), borderValue=1).astype(np.bool_)
    return inner if inner.mean() > 0.05 else known_HW


def copy_detail(
    detail_HWC: NDArray[np.float32],
    base_HW: NDArray[np.float32],
    known_HW: NDArray[np.bool_],
    source_HW: NDArray[np.bool_],
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Detail for the unknown pixels and their rim from a source pixel one of `_SHIFTS` shifts away; 0 where none reaches.

    Few, large shifts copy pieces large enough to keep their texture. Two thirds of the shifts join only places of like
    `base_HW` (so that flat glass does not fill tissue); the last ones take what there is.
    """
    result = np.zeros_like(detail_HWC)
    origin = np.zeros(known_HW.shape, dtype=np.uint8)
    wanted = cv2.dilate((~known_HW).astype(np.uint8), np.ones((5, 5), np.uint8)).astype(np.bool_)
    rows, columns = np.nonzero(wanted)
    height, width = known_HW.shape
    longest = min(_LONGEST_SHIFT, 0.5 * min(height, width))
    alike = _SIMILAR_DENSITY * float(base_HW[known_HW].std()) if known_HW.any() else 0.0
    for turn in range(_SHIFTS):
        if rows.size == 0:
            break
        distance, angle = rng.uniform(0.2 * longest, longest), rng.uniform(0.0, 2.0 * np.pi)
        from_rows = _reflect_indices(rows + round(distance * np.sin(angle)), height)
        from_columns = _reflect_indices(columns + round(distance * np.cos(angle)), width)
        found = source_HW[from_rows, from_columns]
        if 3 * turn < 2 * _SHIFTS:
            found &= np.abs(base_HW[from_rows, from_columns] - base_HW[rows, columns]) < alike
        result[rows[found], columns[found]] = detail_HWC[from_rows[found], from_columns[found]]
        origin[rows[found], columns[found]] = turn + 1
        rows, columns = rows[~found], columns[~found]
    seams = cv2.morphologyEx(origin, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    result[seams] = cv2.GaussianBlur(result, (0, 0), 1.0)[seams]
    return result


def _reflect_indices(index: NDArray[np.intp], length: int) -> NDArray[np.intp]:
    """Mirror out-of-range indices back into [0, length)."""
    index = np.abs(index)
    return np.where(index >= length, 2 * (length - 1) - index, index)

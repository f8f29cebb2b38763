"""Training targets: horizontal and vertical distances to the centre of the nucleus (Graham et al. 2019, section 3.1)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nucleate import errors


def hv_maps(instances_HW: NDArray[np.integer]) -> NDArray[np.float32]:
    """Horizontal and vertical distance maps, 2HW float32 in -1..1, zero on background.

    Each pixel of a nucleus holds its signed distance to the nucleus' rounded centre of mass, and each of the four sides is
    scaled by itself to reach -1 or 1. `instances_HW` holds any non-negative ids, 0 is background. Nuclei at every image border
    get their maps, too; hover_net's targets.py leaves those at the top and left border zero. One pass of bincounts instead of
    a loop over nuclei: 1000x1000 with 700 nuclei takes about 20 ms.

    Raises:
        errors.InvalidMask: the map is not a two-dimensional integer array or has negative ids.
    """
    if instances_HW.ndim != 2 or not np.issubdtype(instances_HW.dtype, np.integer):
        raise errors.InvalidMask(f"instance map is {instances_HW.ndim}-D {instances_HW.dtype}: give a 2-D integer map")
    hv_2HW = np.zeros((2, *instances_HW.shape), np.float32)
    pixels = np.flatnonzero(instances_HW)
    if not pixels.size:
        return hv_2HW
    ids = instances_HW.ravel()[pixels]
    if ids.min() < 0:
        raise errors.InvalidMask("instance map has negative ids: use 0 for background and positive ids for nuclei")
    labels = _contiguous(ids)
    rows, columns = np.divmod(pixels, instances_HW.shape[1])
    count = np.bincount(labels)
    for plane, position in zip(hv_2HW.reshape(2, -1), (columns, rows), strict=True):
        plane[pixels] = _scaled_offsets(position, labels, count)
    return hv_2HW


def _contiguous(ids: NDArray[np.integer]) -> NDArray[np.intp]:
    """Labels 0..N-1 for the N distinct positive `ids`, by table where the largest id allows it."""
    largest = int(ids.max())
    if largest > 4 * ids.size + 65536:
        return np.asarray(np.unique(ids, return_inverse=True)[1], np.intp)
    present = np.bincount(ids, minlength=largest + 1) > 0
    return np.asarray((np.cumsum(present) - 1)[ids], np.intp)


def _scaled_offsets(position: NDArray[np.intp], labels: NDArray[np.intp], count: NDArray[np.intp]) -> NDArray[np.float32]:
    """Offsets of `position` from each label's rounded mean, negative and positive side scaled separately to reach 1."""
    centre = np.floor(np.bincount(labels, weights=position) / count + 0.5).astype(np.intp)
    order_min = np.full(count.size, np.iinfo(np.intp).max)
    order_max = np.full(count.size, -1)
    np.minimum.at(order_min, labels, position)
    np.maximum.at(order_max, labels, position)
    below = np.maximum(centre - order_min, 1).astype(np.float32)
    above = np.maximum(order_max - centre, 1).astype(np.float32)
    offset = (position - centre[labels]).astype(np.float32)
    return np.where(offset < 0, offset / below[labels], offset / above[labels]).astype(np.float32)

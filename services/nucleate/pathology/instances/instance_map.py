"""Instance maps: HW integer arrays with 0 for background and one positive label per nucleus."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from nucleate.errors import InvalidMask
from nucleate.pathology.instances.mask_morphology import dilate

Box = tuple[slice, slice]


def check_instance_map(instances: ArrayLike, name: str = "the instance map") -> NDArray[np.integer]:
    """Return `instances` as an array, or raise `InvalidMask` unless it is a non-empty HW map of integers >= 0."""
    array = np.asarray(instances)
    if array.dtype.kind not in "iu":
        fix = "label its objects first" if array.dtype.kind == "b" else "convert it to integer labels"
        raise InvalidMask(f"{name} holds {array.dtype} values: {fix}")
    if array.ndim != 2 or array.size == 0:
        raise InvalidMask(f"{name} has shape {array.shape}: give one label per pixel, height x width")
    if array.dtype.kind == "i" and int(array.min()) < 0:
        raise InvalidMask(f"{name} has negative labels: use 0 for background and positive labels for nuclei")
    return array


def relabel(instances: ArrayLike) -> NDArray[np.int32]:
    """Map labels to 1..N without gaps, their order kept; HW int32. Raises `InvalidMask` as `check_instance_map` does."""
    array = check_instance_map(instances)
    top = int(array.max())
    if top <= 16 * array.size:
        present = np.zeros(top + 1, dtype=np.bool_)
        present[array] = True
        present[0] = False
        new_of_old: NDArray[np.int32] = np.cumsum(present, dtype=np.int32)
        new_of_old[~present] = 0
        return np.asarray(new_of_old[array])
    labels, inverse = np.unique(array, return_inverse=True)
    return np.asarray(inverse.reshape(array.shape) + (0 if labels[0] == 0 else 1), dtype=np.int32)


def areas(instances: NDArray[np.integer]) -> NDArray[np.int64]:
    """Pixels of every label 0..max: index it by label; 0 where a label does not occur."""
    return np.bincount(instances.ravel()).astype(np.int64)


def bounding_boxes(instances: NDArray[np.integer]) -> list[Box | None]:
    """Bounding box of every label as (rows, columns): entry k belongs to label k + 1, None where it does not occur."""
    return list(ndimage.find_objects(instances.astype(np.int32, copy=False)))


def majority_class(
    nucleus_P: NDArray[np.integer], class_P: NDArray[np.integer], count: int
) -> tuple[NDArray[np.integer], NDArray[np.float64]]:
    """Class that most pixels of each of `count` nuclei have, and its share of them (0..1), from P pixels.

    Pixels of class 0 (background) are outvoted by any other, as in HoVer-Net; a nucleus of nothing else has class 0, share 0.
    """
    if nucleus_P.size == 0:
        return np.zeros(count, np.int64), np.zeros(count)
    classes_C, class_index_P = np.unique(class_P, return_inverse=True)
    cells_P = nucleus_P.astype(np.int64) * classes_C.size + class_index_P
    votes_NC = np.bincount(cells_P, minlength=count * classes_C.size).reshape(count, -1)
    pixels_N = np.maximum(votes_NC.sum(axis=1), 1)
    votes_NC[:, classes_C == 0] = 0
    most_N = votes_NC.max(axis=1)
    return np.where(most_N > 0, classes_C[votes_NC.argmax(axis=1)], 0), most_N / pixels_N


def remove_small(instances: NDArray[np.integer], min_area: int) -> NDArray[np.int32]:
    """Drop nuclei of fewer than `min_area` pixels and close the gaps in the labels."""
    array = relabel(instances)
    keep = areas(array) >= min_area
    keep[0] = False
    return relabel(array * keep[array])


def inner_boundary(instances: NDArray[np.integer]) -> NDArray[np.bool_]:
    """HW bool: pixels of a nucleus with a 4-neighbour outside of it (another nucleus or background)."""
    labels = instances
    edge = np.zeros(labels.shape, dtype=np.bool_)
    down = labels[1:] != labels[:-1]
    right = labels[:, 1:] != labels[:, :-1]
    edge[1:] |= down
    edge[:-1] |= down
    edge[:, 1:] |= right
    edge[:, :-1] |= right
    return edge & (labels > 0)


def boundary_band(instances: NDArray[np.integer], radius: int) -> NDArray[np.bool_]:
    """HW bool: pixels within `radius` pixels (Euclidean disk) of a nucleus boundary, on either side of it."""
    edge = inner_boundary(instances)
    if radius <= 0:
        return edge
    return dilate(edge, radius)

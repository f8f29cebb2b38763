"""numpy's .npy files, never pickled: an instance map, or one with a class map behind it (CoNIC's and Lizard's layout)."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nucleate.errors import InvalidMask
from nucleate.pathology.annotation_formats.labels import UNCLASSIFIED, Labels
from nucleate.pathology.images.raster_files import check_size
from nucleate.pathology.instances.instance_map import check_instance_map, majority_class, relabel

MAGIC = b"\x93NUMPY"
_LAYOUT = "give height x width, or height x width x 2 with classes in the second channel"


def parse(data: bytes, name: str) -> Labels:
    """Labels of an HW, HW1 or HW2 integer array.

    Raises:
        InvalidMask: a damaged file, Python objects, float or negative labels, another shape.
        TooLarge: over 100 megapixels.
    """
    array = _load(data, name)
    if array.ndim == 3 and array.shape[2] in (1, 2):
        array, classes = array[..., 0], array[..., 1] if array.shape[2] == 2 else None
    else:
        classes = None
    labels = labels_from_array(array, name)
    return labels if classes is None else _with_types(labels.instances, check_instance_map(classes, f"the class map of {name}"))


def labels_from_array(array: NDArray[Any], name: str) -> Labels:
    """An HW map of any labels; those beyond int32 are numbered anew, in order."""
    checked = check_instance_map(array, name)
    fits = int(checked.max()) < 1 << 31
    return Labels(checked.astype(np.int32) if fits else relabel(checked))


def _load(data: bytes, name: str) -> NDArray[Any]:
    file = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(file)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = header(file)
    except (ValueError, EOFError) as cause:
        raise InvalidMask(f"{name} has no readable .npy header ({type(cause).__name__}): save it with numpy.save") from None
    if dtype.hasobject:
        raise InvalidMask(f"{name} holds Python objects, which are not read: save an integer array with numpy.save")
    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] not in (1, 2)):
        raise InvalidMask(f"{name} has shape {shape}: {_LAYOUT}")
    check_size(shape[1], shape[0], name, InvalidMask, labels=True)
    if len(data) - file.tell() != dtype.itemsize * int(np.prod(shape, dtype=object)):
        raise InvalidMask(f"{name} is cut short or longer than its header says: save it again")
    file.seek(0)
    return np.asarray(np.lib.format.read_array(file, allow_pickle=False))


def _with_types(instances: NDArray[np.int32], classes: NDArray[np.integer]) -> Labels:
    """The class that most pixels of a nucleus have, its number as its name."""
    inside = instances > 0
    labels_N, nucleus_P = np.unique(instances[inside], return_inverse=True)
    class_N, share_N = majority_class(nucleus_P, classes[inside], labels_N.size)
    kinds = {int(label): str(each) if each else UNCLASSIFIED for label, each in zip(labels_N, class_N.tolist(), strict=True)}
    mixed = int(((share_N > 0) & (share_N < 1)).sum())
    notes = (f"{mixed} nuclei have pixels of several classes: the most frequent counts",) if mixed else ()
    return Labels(instances, kinds, notes)

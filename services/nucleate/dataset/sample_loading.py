"""From a sample of the manifest to arrays a training loop can use, checked against each other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nucleate.dataset.manifest import BlobRef, Sample
from nucleate.errors import InvalidMask, SizeMismatch
from nucleate.pathology.images.codec import decode_image, decode_instances, decode_mask


@dataclass(frozen=True, slots=True)
class LoadedSample:
    """Image HWC uint8 RGB, instance map HW int32 (0 = background), ignore mask HW bool (True = no loss here).

    `types` HW uint8 are classes 1..C of nuclear pixels, 0 where unknown and in the background; None: none is known.
    """

    image: NDArray[np.uint8]
    instances: NDArray[np.int32]
    ignore: NDArray[np.bool_]
    types: NDArray[np.uint8] | None = None


def load_sample(sample: Sample, read: Callable[[BlobRef], bytes], classes: int = 0) -> LoadedSample:
    """Read and decode a sample; `read` fetches the bytes of a blob and checks their digest, `classes` is C.

    Raises `InvalidImage` or `InvalidMask` for pixels that cannot be used, among them classes beyond C, and `SizeMismatch` for
    parts of different sizes.
    """
    image = decode_image(read(sample.image), f"image of sample {sample.id}")
    instances = decode_instances(read(sample.instances), f"instance map of sample {sample.id}")
    if sample.ignore is None:
        ignore = np.zeros(instances.shape, dtype=np.bool_)
    else:
        ignore = decode_mask(read(sample.ignore), f"ignore mask of sample {sample.id}")
    types = None if sample.types is None else decode_instances(read(sample.types), f"map of types of sample {sample.id}")
    size = image.shape[:2]
    for part, name in (
        (instances, "instance map"),
        (ignore, "ignore mask"),
        (instances if types is None else types, "map of types"),
    ):
        if part.shape != size:
            raise SizeMismatch(
                f"sample {sample.id}: the {name} is {part.shape[1]} x {part.shape[0]} px and the image {size[1]} x {size[0]} px"
            )
    if types is None:
        return LoadedSample(image, instances, ignore)
    if types.max() > classes:
        raise InvalidMask(
            f"map of types of sample {sample.id} has class {types.max()} and the data set names {classes}: name them all"
        )
    return LoadedSample(image, instances, ignore, np.where(instances > 0, types, 0).astype(np.uint8))

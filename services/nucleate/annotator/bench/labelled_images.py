"""The images of an evaluation and their sealed maps, read when they are needed: a thousand maps do not fit in memory."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from nucleate import errors
from nucleate.annotator.bench.sampling import MIN_AREA
from nucleate.annotator.robot.oracle import InstanceMap
from nucleate.pathology.images.codec import decode_image, decode_instances
from nucleate.runtime.blobs import Blobs
from nucleate.v1 import common_pb2

_CACHED_MAPS = 4  # decoded maps


class LabelledImages:
    """Images with their instance maps; `candidates` holds each one's labels of at least 16 px, `left_out` counts the others."""

    def __init__(self, blobs: Blobs, images: Sequence[common_pb2.LabelledImage]) -> None:
        """Read every map once.

        Raises:
            errors.SizeMismatch: a map has another size than its image.
            errors.EmptyInput: there is no nucleus to click in any of them.
        """
        self._blobs, self._images = blobs, images
        self.map = lru_cache(_CACHED_MAPS)(self._read)
        self.candidates: list[list[int]] = []
        self.left_out = 0
        for index, image in enumerate(images):
            _check_size(decode_image(blobs.get(image.image), f"image '{image.id}'").shape, self.map(index), image.id)
            areas = np.bincount(self.map(index).ravel())
            areas[0] = 0
            self.candidates.append(np.flatnonzero(areas >= MIN_AREA).tolist())
            self.left_out += int(np.count_nonzero(areas)) - len(self.candidates[-1])
        if not any(self.candidates):
            raise errors.EmptyInput(f"the masks have no nucleus of at least {MIN_AREA} px: give one label per nucleus")

    def _read(self, index: int) -> InstanceMap:
        image = self._images[index]
        return decode_instances(self._blobs.get(image.instances), f"mask of image '{image.id}'")

    def image(self, index: int) -> common_pb2.Image:
        """The image as the interactive service takes it."""
        return common_pb2.Image(id=self._images[index].id, data=self._images[index].image)

    def with_nuclei(self) -> list[int]:
        """Numbers of the images that have a nucleus to click."""
        return [index for index, labels in enumerate(self.candidates) if labels]


def _check_size(image_shape: tuple[int, ...], labels_HW: InstanceMap, name: str) -> None:
    if labels_HW.shape != image_shape[:2]:
        found, wanted = f"{labels_HW.shape[1]} x {labels_HW.shape[0]}", f"{image_shape[1]} x {image_shape[0]}"
        raise errors.SizeMismatch(f"image '{name}' has {wanted} pixels, but its mask has {found}: make their sizes equal")

"""The working resolution: images of small nuclei are enlarged until their typical nucleus has a working radius.

Features lie 4 px apart and contours are resolved to half a pixel: a nucleus of 5 px radius is three features wide, and an error
of one pixel costs a third of it. On the three kidney images of the Kumar pool, whose nuclei have a radius of 6 px, the mean IoU
after one click rises from .68 to .72; on images of typical size little changes. Clicks, masks and probabilities that go in and
out are of the image's own pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from nucleate.interactive.clicks import Click, Mask
from nucleate.interactive.object_mask import ObjectMask
from nucleate.interactive.prediction.zoom_in import Frame

WORKING_RADIUS = 18.0  # px, as `typical_radius` measures it
MAX_FACTOR = 2.0
MIN_FACTOR = 1.1  # less is not worth the interpolation
MAX_PIXELS = 4096 * 4096  # of an enlarged image


@dataclass(frozen=True)
class Resampling:
    """How many pixels of the network one pixel of the image is wide; 1 changes nothing."""

    factor: float

    @classmethod
    def to_working_radius(cls, radius: float, height: int, width: int) -> Resampling:
        """What brings nuclei of that typical radius, px, to the working radius, as far as the image stays small enough."""
        size_limit = float(np.sqrt(MAX_PIXELS / (height * width)))
        factor = min(WORKING_RADIUS / radius, MAX_FACTOR, size_limit)
        return cls(factor if factor >= MIN_FACTOR else 1.0)

    def enlarge_image(self, image_HW3: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The image enlarged, bicubic."""
        return np.asarray(self._resized(image_HW3, cv2.INTER_CUBIC), np.uint8)

    def enlarge_labels(self, labels_HW: NDArray[np.int32]) -> NDArray[np.int32]:
        """A map of labels enlarged."""
        return np.asarray(self._resized(labels_HW, cv2.INTER_NEAREST_EXACT), np.int32)

    def enlarge_mask(self, mask_HW: Mask) -> Mask:
        """A map of truth values enlarged."""
        return np.asarray(self._resized(mask_HW.astype(np.uint8), cv2.INTER_NEAREST_EXACT), bool)

    def enlarge_click(self, click: Click) -> Click:
        """The enlarged pixel at the middle of the clicked one; no two clicked pixels share one."""
        return Click(int((click.x + 0.5) * self.factor), int((click.y + 0.5) * self.factor), click.positive)

    def enlarge_object(self, mask: ObjectMask) -> ObjectMask:
        """An object's mask enlarged, with smooth edges."""
        if self.factor == 1 or not mask.area:
            return mask
        bits_HW = np.pad(mask.bits, 1).astype(np.float32)
        left, top = (int(np.floor((start - 1) * self.factor)) for start in (mask.x, mask.y))
        height, width = (int(np.ceil((side + 1) * self.factor)) for side in bits_HW.shape)
        whole_HW = self._resampled(bits_HW, 1 / self.factor, (left, top), (mask.x - 1, mask.y - 1), (width, height))
        return ObjectMask.from_array(whole_HW > 0.5, left, top)

    def reduce(self, frame: Frame, plane_HW: NDArray[np.float32]) -> tuple[Frame, NDArray[np.float32]]:
        """The frame of image pixels that fits one of enlarged pixels best, and a plane, such as a probability, in it."""
        if self.factor == 1:
            return frame, plane_HW
        x, y = (round(start / self.factor) for start in (frame.x, frame.y))
        size = max(round((start + frame.size) / self.factor) - round(start / self.factor) for start in (frame.x, frame.y))
        smooth_HW = np.asarray(cv2.GaussianBlur(plane_HW, (0, 0), 0.35 * self.factor), np.float32)
        return Frame(x, y, size), self._resampled(smooth_HW, self.factor, (x, y), (frame.x, frame.y), (size, size))

    def _resized(self, array: NDArray[Any], interpolation: int) -> NDArray[Any]:
        return (
            array if self.factor == 1 else cv2.resize(array, None, fx=self.factor, fy=self.factor, interpolation=interpolation)
        )

    @staticmethod
    def _resampled(
        plane_HW: NDArray[np.float32], step: float, start: tuple[int, int], origin: tuple[int, int], size: tuple[int, int]
    ) -> NDArray[np.float32]:
        """The plane, whose first pixel is `origin`, at pixels of another grid, `step` of the plane's pixels apart."""
        shift_x, shift_y = ((first + 0.5) * step - 0.5 - zero for first, zero in zip(start, origin, strict=True))
        grid = np.array([[step, 0, shift_x], [0, step, shift_y]], np.float32)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return np.asarray(cv2.warpAffine(plane_HW, grid, size, flags=flags, borderMode=cv2.BORDER_REPLICATE), np.float32)

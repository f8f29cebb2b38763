"""The scales of an image: sizes in geometric progression, coarsest first."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from nucleate.errors import InvalidImage
from nucleate.refiner.singan.settings import Settings

Size = tuple[int, int]  # height, width in pixels


def require_rgb(rgb: NDArray[Any], name: str, least: int = 1) -> None:
    """Raises `InvalidImage` unless `rgb` is uint8 HW3 and no side is below `least`."""
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
        raise InvalidImage(f"{name} is {rgb.dtype} of shape {rgb.shape}: give 8-bit RGB, height x width x 3")
    if min(rgb.shape[:2]) < least:
        raise InvalidImage(f"{name} is {rgb.shape[0]}x{rgb.shape[1]}: each side needs at least {least} pixels")


def steps_down(size: Size, settings: Settings) -> tuple[int, float]:
    """How many scales lie below `size`, and the ratio of neighbouring scales that makes the coarsest side `smallest`."""
    ratio = settings.smallest / min(size)
    if ratio >= 1:
        return 0, settings.scale_factor
    count = max(math.ceil(math.log(ratio) / math.log(settings.scale_factor) - 1e-9), 1)
    return count, ratio ** (1 / count)


def scaled(size: Size, factor: float) -> Size:
    """`size` times `factor`, rounded, at least one pixel."""
    return max(round(size[0] * factor), 1), max(round(size[1] * factor), 1)


def sizes(size: Size, settings: Settings) -> list[Size]:
    """Sizes of all scales of an image of `size`, coarsest first, `size` itself last."""
    count, ratio = steps_down(size, settings)
    return [scaled(size, ratio ** (count - scale)) for scale in range(count)] + [size]


def training_crop(rgb_HW3: NDArray[np.uint8], settings: Settings) -> NDArray[np.uint8]:
    """The middle of the image, at most `largest` pixels on each side.

    The paper shrinks large images instead; nuclei have to keep the size at which `harmonize` will meet them.
    """
    top, left = (max(side - settings.largest, 0) // 2 for side in rgb_HW3.shape[:2])
    return rgb_HW3[top : top + settings.largest, left : left + settings.largest]


def build(rgb_HW3: NDArray[np.uint8], settings: Settings) -> list[Tensor]:
    """The pyramid of a uint8 RGB image: float32 13HW on [-1, 1] per scale, coarsest first, each averaged from the original.

    Raises:
        InvalidImage: not uint8 HW3, or a side below `smallest`.
    """
    require_rgb(rgb_HW3, "the image to train on", settings.smallest)
    return [shrink(rgb_HW3, size) for size in sizes((rgb_HW3.shape[0], rgb_HW3.shape[1]), settings)]


def shrink(rgb_HW3: NDArray[np.uint8], size: Size) -> Tensor:
    """uint8 HW3 -> float32 13hw on [-1, 1], every pixel the mean of the area it covers (not rounded to levels)."""
    signed_HW3 = np.ascontiguousarray(rgb_HW3).astype(np.float32) / 127.5 - 1.0
    small_HW3 = cv2.resize(signed_HW3, size[::-1], interpolation=cv2.INTER_AREA)
    return torch.from_numpy(np.ascontiguousarray(small_HW3.transpose(2, 0, 1)))[None]


def enlarge(x_B3HW: Tensor, size: Size) -> Tensor:
    """Bilinear up-sampling to `size`; never beyond the range of its input, unlike the cubic one."""
    return F.interpolate(x_B3HW, size=size, mode="bilinear", align_corners=False)

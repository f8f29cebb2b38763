"""What ColorNormNet sees: small tissue-weighted pictures of an image."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nucleate.colornorm.methods.tissue_weights import TissueSample, darkest_channel

_PER_PIXEL = 2  # samples along each side of a thumbnail's pixel are enough
MIN_PATCH = 0.4  # of the shorter side of the target


def thumbnail(rgb_HW3: NDArray[np.uint8], tissue: TissueSample, side: int) -> tuple[Tensor, Tensor]:
    """Area means of an HW3 uint8 RGB image: colours 13hw on [0, 1] and tissue weights 11hw on [0, 1], h = w = side."""
    step = max(1, min(rgb_HW3.shape[:2]) // (_PER_PIXEL * side))
    sampled_HW3 = np.ascontiguousarray(rgb_HW3[::step, ::step])
    small_hw3 = cv2.resize(sampled_HW3, (side, side), interpolation=cv2.INTER_AREA)
    level_weights = np.rint(255 * tissue.weight_of_level).astype(np.uint8)
    weight_hw = cv2.resize(cv2.LUT(darkest_channel(sampled_HW3), level_weights), (side, side), interpolation=cv2.INTER_AREA)
    rgb_13hw = torch.from_numpy(np.ascontiguousarray(small_hw3.transpose(2, 0, 1)))[None].float() / 255
    return rgb_13hw, torch.from_numpy(np.ascontiguousarray(weight_hw))[None, None].float() / 255


def target_patches(
    rgb_HW3: NDArray[np.uint8], tissue: TissueSample, count: int, side: int, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """D_target: `count` square patches of W_target, turned at random, as thumbnails N3hw and tissue weights N1hw."""
    height, width = rgb_HW3.shape[:2]
    patches = []
    for _ in range(count):
        length = max(1, int(rng.uniform(MIN_PATCH, 1.0) * min(height, width)))
        top, left = int(rng.integers(height - length + 1)), int(rng.integers(width - length + 1))
        patch = np.rot90(rgb_HW3[top : top + length, left : left + length], int(rng.integers(4)))
        patches.append(thumbnail(np.ascontiguousarray(patch), tissue, side))
    return torch.cat([rgb for rgb, _ in patches]), torch.cat([weight for _, weight in patches])

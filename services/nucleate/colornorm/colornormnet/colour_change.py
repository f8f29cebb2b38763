"""What a predicted change does to pixels, for training (torch, thumbnails in 0..1) and for whole images (8 bits).

Offsets count in tissue only, by its weight. A density change is D' = max(0, exp(s) D + t min(D / 0.15, 1)): glass, which has no
density, stays as it is.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from nucleate.colornorm.methods.tissue_weights import TissueSample, darkest_channel

_RAMP = 0.15  # density from which on a shift counts whole
_MIN_LEVEL = 1 / 255


def apply_to_thumbnails(rgb_B3hw: Tensor, weight_B1hw: Tensor, changes_BKij: Tensor, mode: str) -> Tensor:
    """Thumbnails under changes, B3hw, not clipped above."""
    if mode != "density":
        return rgb_B3hw + weight_B1hw * F.interpolate(changes_BKij, rgb_B3hw.shape[2:], mode="bilinear", align_corners=False)
    density = -torch.log(rgb_B3hw.clamp_min(_MIN_LEVEL))
    scale, shift = changes_BKij[:, :3], changes_BKij[:, 3:]
    return torch.exp(-F.relu(torch.exp(scale) * density + shift * (density / _RAMP).clamp_max(1.0)))


def apply_changes(
    rgb_HW3: NDArray[np.uint8], tissue: TissueSample, changes_Kij: NDArray[np.float64], mode: str
) -> NDArray[np.uint8]:
    """HW3 uint8 RGB under changes, clipped to 0..255."""
    if mode == "density":
        return _by_density(rgb_HW3, changes_Kij[:, 0, 0])
    if mode == "offset":
        return add_offsets(rgb_HW3, tissue, changes_Kij[:, 0, 0])
    height, width = rgb_HW3.shape[:2]
    small = np.ascontiguousarray(changes_Kij.transpose(1, 2, 0), np.float32)
    offsets = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR).reshape(height, width, 3)
    weight_HW = cv2.LUT(darkest_channel(rgb_HW3), tissue.weight_of_level)
    moved = rgb_HW3 + np.float32(255) * offsets * weight_HW[..., None]
    return np.asarray(cv2.convertScaleAbs(np.maximum(moved, 0)), np.uint8)


def add_offsets(rgb_HW3: NDArray[np.uint8], tissue: TissueSample, offsets_3: NDArray[np.float64]) -> NDArray[np.uint8]:
    """HW3 uint8 RGB plus the offsets (on [0, 1]) times the tissue weight of each pixel, clipped to 0..255."""
    darkest_HW = darkest_channel(rgb_HW3)
    moved = []
    for channel_HW, offset in zip(cv2.split(rgb_HW3), offsets_3, strict=True):
        table = np.rint(np.abs(255 * offset) * tissue.weight_of_level).astype(np.uint8)
        amount_HW = cv2.LUT(darkest_HW, table)
        moved.append(cv2.add(channel_HW, amount_HW) if offset >= 0 else cv2.subtract(channel_HW, amount_HW))
    return np.asarray(cv2.merge(moved), np.uint8)


def _by_density(rgb_HW3: NDArray[np.uint8], changes_6: NDArray[np.float64]) -> NDArray[np.uint8]:
    levels = torch.arange(256, dtype=torch.float64).div(255).expand(1, 3, 1, 256)
    one = apply_to_thumbnails(levels, levels[:, :1], torch.from_numpy(np.array(changes_6)).reshape(1, 6, 1, 1), "density")
    tables = np.rint(255 * one[0, :, 0].numpy()).astype(np.uint8)
    return np.asarray(cv2.merge([cv2.LUT(plane, table) for plane, table in zip(cv2.split(rgb_HW3), tables, strict=True)]))

"""Pixels as the networks take them: 8-bit levels to [-1, 1] and back."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def to_signed(rgb_BHW3: NDArray[np.uint8]) -> Tensor:
    """uint8 BHW3 in 0..255 -> float32 B3HW on [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(rgb_BHW3.transpose(0, 3, 1, 2))).float() / 127.5 - 1.0


def to_bytes(x_B3HW: Tensor) -> NDArray[np.uint8]:
    """Float B3HW on [-1, 1] -> uint8 B3HW, rounded to the nearest level."""
    levels = ((x_B3HW.detach() + 1.0) * 127.5).round().clamp(0, 255).to(torch.uint8)
    array: NDArray[np.uint8] = levels.cpu().numpy()
    return array

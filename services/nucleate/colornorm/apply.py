"""Adding the offsets that ColorNormNet predicts to a whole image."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from nucleate.colornorm.background import Slide, darkest_channel
from nucleate.colornorm.network import ColorNormNet
from nucleate.colornorm.thumbnails import thumbnail


@torch.inference_mode()
def predict_offsets(network: ColorNormNet, rgb_HW3: NDArray[np.uint8], slide: Slide, side: int) -> NDArray[np.float64]:
    """Offsets for R, G, B on the [0, 1] scale, one for the whole image: tiles of a slide show no seams."""
    rgb_13hw, weight_11hw = thumbnail(rgb_HW3, slide, side)
    device = network.free.device
    offsets_13 = network(rgb_13hw.to(device), weight_11hw.to(device))
    return np.asarray(offsets_13[0].cpu().numpy(), np.float64)


def add_offsets(rgb_HW3: NDArray[np.uint8], slide: Slide, offsets_3: NDArray[np.float64]) -> NDArray[np.uint8]:
    """HW3 uint8 RGB plus the offsets (on [0, 1]) times the tissue weight of each pixel, clipped to 0..255."""
    darkest_HW = darkest_channel(rgb_HW3)
    moved = []
    for channel_HW, offset in zip(cv2.split(rgb_HW3), offsets_3, strict=True):
        table = np.rint(np.abs(255 * offset) * slide.weight_of_level).astype(np.uint8)
        amount_HW = cv2.LUT(darkest_HW, table)
        moved.append(cv2.add(channel_HW, amount_HW) if offset >= 0 else cv2.subtract(channel_HW, amount_HW))
    return np.asarray(cv2.merge(moved), np.uint8)

"""Augmentation of D's input, of refined and real crops alike.

Whatever one side has and the other has not (a JPEG grid, a fixed brightness) is what D learns first, and it teaches R
nothing. So both sides get the same random colour shift and are written as JPEG at a random quality; the gradient passes
straight through.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nucleate.refiner.pixels import to_bytes, to_signed


def jitter_and_compress(x_B3HW: Tensor, quality: tuple[int, int], jitter: float, rng: np.random.Generator) -> Tensor:
    """Float B3HW on [-1, 1] -> the same after colour shift and JPEG; dy/dx is taken as the identity.

    Args:
        x_B3HW: refined or real crops.
        quality: lowest and highest JPEG quality, drawn for each crop.
        jitter: largest shift of a colour channel of a crop, on the [-1, 1] scale.
        rng: draws as many numbers for either side.
    """
    shift_B311 = torch.from_numpy(rng.uniform(-jitter, jitter, (len(x_B3HW), 3, 1, 1)).astype(np.float32))
    shifted_B3HW = x_B3HW + shift_B311.to(x_B3HW.device)
    qualities = rng.integers(quality[0], quality[1] + 1, len(x_B3HW))
    crops_BHW3 = to_bytes(shifted_B3HW).transpose(0, 2, 3, 1)
    coded_BHW3 = np.stack([_jpeg(crop, int(q)) for crop, q in zip(crops_BHW3, qualities, strict=True)])
    coded_B3HW = to_signed(coded_BHW3).to(x_B3HW.device)
    return shifted_B3HW + (coded_B3HW - shifted_B3HW).detach()


def _jpeg(rgb_HW3: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    # Channel order only decides which primaries become luma; reversing it gives cv2 the BGR it expects.
    _, code = cv2.imencode(".jpg", np.ascontiguousarray(rgb_HW3[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR), np.uint8)[..., ::-1]

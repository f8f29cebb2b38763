"""Label-free initialisation: predict masked patches of un-annotated windows (He et al. 2022, masked autoencoders, densely).

A share of each window's patches is replaced by the window's mean colour. From what is left the network predicts, with the
branches it later segments with, the masked pixels' haematoxylin margin and brightness (NP) and the slopes of the smoothed
margin (HV): what nuclei look like, where they are, and which way their centres lie, without a label.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from nucleate.hovernet.networks.hovernet import Maps

_PATCH = 16  # px
_MASK_RATIO = 0.4  # of the patches
_SLOPE = 5  # side in px of the mean that slopes are taken of
_SLOPE_SCALE = 10.0  # brings slopes to the size of the other targets


def mask_patches(image_B4HW: Tensor, seeds: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """The images with masked patches, and BHW float32 of 1 where they are; the same for the same seeds."""
    batch, _, height, width = image_B4HW.shape
    rows, columns = -(-height // _PATCH), -(-width // _PATCH)
    patches = np.random.default_rng(seeds).random((batch, rows, columns)) < _MASK_RATIO
    mask = torch.from_numpy(patches.repeat(_PATCH, 1).repeat(_PATCH, 2)[:, :height, :width].astype(np.float32)).to(image_B4HW)
    mean = image_B4HW.mean((2, 3), keepdim=True)
    covered = mask.unsqueeze(1)
    return image_B4HW * (1 - covered) + mean * covered, mask


def losses(maps: Maps, image_B4HW: Tensor, mask_BHW: Tensor) -> dict[str, Tensor]:
    """Mean absolute error of the masked pixels' planes (`pretext_planes`) and slopes (`pretext_slopes`).

    Without padding the maps lack the input's margin, and so does what they are compared with.
    """
    margin = (image_B4HW.shape[2] - maps.np.shape[2]) // 2
    planes = torch.stack([image_B4HW[:, 3], image_B4HW[:, :3].mean(1)], 1)
    pairs = {"pretext_planes": (maps.np, planes), "pretext_slopes": (maps.hv, _slopes(image_B4HW[:, 3:]))}
    weight = _within(mask_BHW, margin)
    return {
        name: ((predicted - _within(true, margin)).abs().mean(1) * weight).sum() / weight.sum().clamp_min(1.0)
        for name, (predicted, true) in pairs.items()
    }


def _slopes(plane_B1HW: Tensor) -> Tensor:
    """Central differences to the right and downwards of the smoothed plane, B2HW."""
    smooth = F.avg_pool2d(plane_B1HW, _SLOPE, stride=1, padding=_SLOPE // 2, count_include_pad=False)
    framed = F.pad(smooth, (1, 1, 1, 1), mode="replicate")
    across = framed[:, :, 1:-1, 2:] - framed[:, :, 1:-1, :-2]
    down = framed[:, :, 2:, 1:-1] - framed[:, :, :-2, 1:-1]
    return torch.cat([across, down], 1) * _SLOPE_SCALE


def _within(plane_BxHW: Tensor, margin: int) -> Tensor:
    height, width = plane_BxHW.shape[-2:]
    return plane_BxHW[..., margin : height - margin, margin : width - margin]

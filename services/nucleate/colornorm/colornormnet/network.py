"""ColorNormNet: from a thumbnail to what has to be done to each colour channel (report section 6.2)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

REACH = 1.5  # predictions reach beyond what is trained on, as real slides do
MODES = ("offset", "pixel", "density")
#: Largest changes drawn in training: of levels in 0..1 (the report's .2), and of the logarithm of density and of density.
OFFSET, SCALE, SHIFT = 0.2, 0.35, 0.15


@dataclass(frozen=True)
class Shape:
    """What decides a network: channels of its strided layers, its mode, and whether it may change green.

    `offset` adds one value to each channel of the whole image, `pixel` one to each pixel, as the report's figure may be read;
    `density` scales and shifts optical density, under which white stays white whatever is predicted.
    """

    widths: tuple[int, ...]
    mode: str = "offset"
    green: bool = True

    @property
    def limits(self) -> tuple[float, ...]:
        """Largest training change of every output: offsets of R, G, B, or their log scales and then their shifts."""
        free = (1.0, float(self.green), 1.0)
        sizes = (SCALE, SHIFT) if self.mode == "density" else (OFFSET,)
        return tuple(size * each for size in sizes for each in free)


class ColorNormNet(nn.Module):
    """Strided convolutions, their tissue-weighted mean beside the mean colour, and one linear layer.

    In mode `pixel` a 1 x 1 convolution adds, to what the whole image gets, a small map of what its parts get more or less.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        channels = (4, *shape.widths)
        self.layers = nn.ModuleList(nn.Conv2d(before, after, 3, stride=2, padding=1) for before, after in pairwise(channels))
        self.head = nn.Linear(3 + shape.widths[-1], len(shape.limits))
        self.local = nn.Conv2d(shape.widths[-1], len(shape.limits), 1) if shape.mode == "pixel" else None
        self.register_buffer("limit", REACH * torch.tensor(shape.limits).clamp_min(1e-9), persistent=False)
        self.register_buffer("free", (torch.tensor(shape.limits) > 0).float(), persistent=False)
        self.limit: Tensor
        self.free: Tensor

    def forward(self, rgb_B3hw: Tensor, weight_B1hw: Tensor) -> Tensor:
        """Thumbnails on [0, 1] and their tissue weights -> changes BKij that lead to the target; i = j = 1 but for `pixel`."""
        h_BChw = torch.cat([rgb_B3hw - 0.5, weight_B1hw], dim=1)
        coarse_B1hw = weight_B1hw
        for layer in self.layers:
            h_BChw = F.leaky_relu(layer(h_BChw), 0.1)
            coarse_B1hw = F.avg_pool2d(coarse_B1hw, 2, ceil_mode=True)
        features_BC = torch.cat([_mean(rgb_B3hw - 0.5, weight_B1hw), _mean(h_BChw, coarse_B1hw)], dim=1)
        raw_BKij = self.head(features_BC)[..., None, None]
        if self.local is not None:
            raw_BKij = raw_BKij + self.local(h_BChw)
        limit_K11 = self.limit[:, None, None]
        changes: Tensor = limit_K11 * torch.tanh(raw_BKij / limit_K11) * self.free[:, None, None]
        return changes


def _mean(x_BChw: Tensor, weight_B1hw: Tensor) -> Tensor:
    return (x_BChw * weight_B1hw).sum(dim=(2, 3)) / weight_B1hw.sum(dim=(2, 3)).clamp_min(1e-6)


def build_network(shape: Shape, seed: int) -> ColorNormNet:
    """A fresh network whose weights depend on `seed` only; the global torch generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed % 2**63)
        return ColorNormNet(shape)

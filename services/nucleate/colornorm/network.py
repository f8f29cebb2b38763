"""ColorNormNet: from a thumbnail to one offset for each colour channel (report section 6.2)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

REACH = 1.5  # predicted offsets reach beyond those of training, as real slides do


class ColorNormNet(nn.Module):
    """Strided convolutions, their tissue-weighted mean beside the mean colour, and one linear layer.

    The report perturbs red and blue only; `green` frees the third offset.
    """

    def __init__(self, widths: tuple[int, ...], offset: float, green: bool) -> None:
        super().__init__()
        channels = (4, *widths)
        self.layers = nn.ModuleList(nn.Conv2d(channels[i], channels[i + 1], 3, stride=2, padding=1) for i in range(len(widths)))
        self.head = nn.Linear(3 + widths[-1], 3)
        self.limit = REACH * offset
        self.register_buffer("free", torch.tensor([1.0, float(green), 1.0]), persistent=False)
        self.free: Tensor

    def forward(self, rgb_B3hw: Tensor, weight_B1hw: Tensor) -> Tensor:
        """Thumbnails on [0, 1] and their tissue weights -> offsets B3 on the same scale that lead to the target."""
        h_BChw = torch.cat([rgb_B3hw - 0.5, weight_B1hw], dim=1)
        for layer in self.layers:
            h_BChw = F.leaky_relu(layer(h_BChw), 0.1)
        coarse_B1hw = F.adaptive_avg_pool2d(weight_B1hw, (h_BChw.shape[2], h_BChw.shape[3]))
        features_BC = torch.cat([_mean(rgb_B3hw - 0.5, weight_B1hw), _mean(h_BChw, coarse_B1hw)], dim=1)
        offsets_B3: Tensor = self.limit * torch.tanh(self.head(features_BC) / self.limit) * self.free
        return offsets_B3


def _mean(x_BChw: Tensor, weight_B1hw: Tensor) -> Tensor:
    return (x_BChw * weight_B1hw).sum(dim=(2, 3)) / weight_B1hw.sum(dim=(2, 3)).clamp_min(1e-6)


def build_network(widths: tuple[int, ...], offset: float, green: bool, seed: int) -> ColorNormNet:
    """A fresh network whose weights depend on `seed` only; the global torch generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed % 2**63)
        return ColorNormNet(widths, offset, green)

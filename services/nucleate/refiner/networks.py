"""The fully convolutional pair of report section 3.2.1: refiner R_Ω and patch discriminator D_ψ.

R follows SimGAN (arXiv 1612.07828): residual blocks and no pooling, but on a pixel-unshuffled half-resolution grid (a quarter
of the work), without normalisation layers (they mix the statistics of small batches), and as a bounded residual whose last
layer starts at zero, so that an untrained refiner is the identity. The residual is smoothed by a binomial of 3 px, which keeps
nothing of a pattern that alternates on the 2 x 2 grid. D sees patches, not images (section 2.2), and spectral normalisation
(arXiv 1802.05957) keeps it from running away from R.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

SLOPE = 0.2
DETAIL = 9  # pixels, side of the mean that is taken off
DETAIL_GAIN = 4.0
BINOMIAL = (0.25, 0.5, 0.25)


class ResidualBlock(nn.Module):
    """x + conv(leaky(conv(leaky(x)))), 3x3, same size."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Same shape."""
        h_BCHW = self.first(F.leaky_relu(x_BCHW, SLOPE))
        out: Tensor = x_BCHW + self.second(F.leaky_relu(h_BCHW, SLOPE))
        return out


class Refiner(nn.Module):
    """R_Ω: float B3HW on [-1, 1], H and W even -> the same; |R(x) - x| <= bound everywhere."""

    def __init__(self, channels: int, blocks: int, bound: float) -> None:
        super().__init__()
        self.bound = bound
        self.inlet = nn.Conv2d(12, channels, 3, padding=1)
        self.blocks = nn.Sequential(*(ResidualBlock(channels) for _ in range(blocks)))
        self.outlet = nn.Conv2d(channels, 12, 3, padding=1)
        nn.init.zeros_(self.outlet.weight)
        if self.outlet.bias is not None:
            nn.init.zeros_(self.outlet.bias)
        self.halo = 2 * (2 * blocks + 3)  # pixels of context on each side that an output pixel can see, rounded up
        self.register_buffer("smoothing", _binomial(), persistent=False)

    def forward(self, x_B3HW: Tensor) -> Tensor:
        """R(x), same shape."""
        h_BCHW = self.blocks(self.inlet(F.pixel_unshuffle(x_B3HW, 2)))
        residual_B3HW = F.pixel_shuffle(self.outlet(F.leaky_relu(h_BCHW, SLOPE)), 2)
        padded_B3HW = F.pad(self.bound * torch.tanh(residual_B3HW), (1, 1, 1, 1), mode="replicate")
        smoothing_3133: Tensor = self.get_buffer("smoothing")
        return torch.clamp(x_B3HW + F.conv2d(padded_B3HW, smoothing_3133, groups=3), -1.0, 1.0)


def _binomial() -> Tensor:
    row = torch.tensor(BINOMIAL)
    return (row[:, None] * row).expand(3, 1, 3, 3).contiguous()


class Discriminator(nn.Module):
    """D_ψ: float B3HW on [-1, 1] -> B1hw logits of P(synthetic), one for each patch of `receptive_field` pixels.

    It sees the image and, beside it, its fine detail enlarged: what is left to tell of a good synthesis is grain and edges,
    which differ by a few grey levels under a colour range of two hundred.
    """

    LAYERS = ((4, 2), (4, 2), (3, 1), (3, 1), (3, 1))  # kernel, stride

    def __init__(self, channels: int) -> None:
        super().__init__()
        widths = (6, channels, 2 * channels, 2 * channels, 2 * channels, 1)
        convolutions = [
            nn.Conv2d(widths[i], widths[i + 1], kernel, stride=stride) for i, (kernel, stride) in enumerate(self.LAYERS)
        ]
        # The last layer stays free: it sets the scale of the logits, which norm-1 layers alone keep too small to teach R.
        self.layers = nn.ModuleList([*(spectral_norm(layer) for layer in convolutions[:-1]), convolutions[-1]])

    @property
    def receptive_field(self) -> int:
        """Side of the image patch one logit sees, in pixels: about one to three nuclei at 40x."""
        side, jump = DETAIL, 1
        for kernel, stride in self.LAYERS:
            side, jump = side + (kernel - 1) * jump, jump * stride
        return side

    def forward(self, x_B3HW: Tensor) -> Tensor:
        """Logits z of D = sigmoid(z) = P(synthetic)."""
        detail_B3HW = DETAIL_GAIN * (x_B3HW - F.avg_pool2d(x_B3HW, DETAIL, 1, DETAIL // 2, count_include_pad=False))
        h_BCHW = torch.cat([x_B3HW, detail_B3HW], dim=1)
        for layer in self.layers[:-1]:
            h_BCHW = F.leaky_relu(layer(h_BCHW), SLOPE)
        z_B1hw: Tensor = self.layers[-1](h_BCHW)
        return z_B1hw


class TaskNetwork(nn.Module):
    """The segmenter of L_hard (Hou et al. 2019): B3HW on [-1, 1] -> B1HW logits of P(nucleus), by dilated convolutions."""

    DILATIONS = (1, 2, 4)

    def __init__(self, channels: int) -> None:
        super().__init__()
        widths = (3, *[channels] * len(self.DILATIONS))
        self.layers = nn.ModuleList(
            nn.Conv2d(widths[i], widths[i + 1], 3, padding=dilation, dilation=dilation)
            for i, dilation in enumerate(self.DILATIONS)
        )
        self.outlet = nn.Conv2d(channels, 1, 1)

    def forward(self, x_B3HW: Tensor) -> Tensor:
        """Logits of the same height and width."""
        for layer in self.layers:
            x_B3HW = F.leaky_relu(layer(x_B3HW), SLOPE)
        logits_B1HW: Tensor = self.outlet(x_B3HW)
        return logits_B1HW


def build_task(channels: int, seed: int) -> TaskNetwork:
    """A fresh segmenter whose weights depend on `seed` only; the global torch generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed((seed + 1) % 2**63)
        return TaskNetwork(channels)


def build_pair(
    channels: int, blocks: int, bound: float, discriminator_channels: int, seed: int
) -> tuple[Refiner, Discriminator]:
    """A fresh R and D whose weights depend on `seed` only; the global torch generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed % 2**63)
        return Refiner(channels, blocks, bound), Discriminator(discriminator_channels)

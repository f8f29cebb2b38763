"""Generator and patch discriminator of one scale: five 3x3 convolutions each, so both see 11 x 11 pixels of their scale.

The paper's batch normalisation sees batches of one image: it normalises each by its own statistics. Both networks train like
that. In trials without, reconstruction was worse, scores once ran away, and generators gave pasted nuclei that were darker than
any they had seen colours that no tissue has. But in use, a nucleus must not come out in other colours from a crop than from the
whole image: a finished generator (`eval`) keeps the statistics that its last pass, that of the reconstruction, had.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SLOPE = 0.2
LAYERS = 5
MARGIN = LAYERS  # pixels that valid 3x3 convolutions take off each side
FIELD = 2 * LAYERS + 1  # pixels, side of what one output sees


def _convolutions(channels: int, outputs: int, norm: Callable[[int], nn.Module]) -> nn.Sequential:
    widths = (3, *[channels] * (LAYERS - 1), outputs)
    layers: list[nn.Module] = []
    for i in range(LAYERS):
        convolution = nn.Conv2d(widths[i], widths[i + 1], 3)
        nn.init.kaiming_normal_(convolution.weight, SLOPE if i < LAYERS - 1 else 1.0)
        if convolution.bias is not None:
            nn.init.zeros_(convolution.bias)
        layers.append(convolution)
        if i < LAYERS - 1:
            layers += [norm(channels), nn.LeakyReLU(SLOPE)]
    return nn.Sequential(*layers)


class Generator(nn.Module):
    """previous + tanh(ψ(noise + previous)): the detail that a scale adds to the up-sampled image of the scale below."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = _convolutions(channels, 3, partial(nn.BatchNorm2d, momentum=1.0))
        # A new scale begins as (almost) the up-sampled image: random detail of its full range takes longest to unlearn.
        nn.init.normal_(self.layers[-1].weight, std=0.01)  # type: ignore[arg-type]

    def forward(self, noise_B3HW: Tensor, previous_B3HW: Tensor) -> Tensor:
        """Float B3HW of any size (images on about [-1, 1]), twice -> B3HW.

        The sum is continued by its border pixels once, before the first layer: zeros would be mid-grey, which no tissue is.
        """
        padded_B3HW = F.pad(noise_B3HW + previous_B3HW, [MARGIN] * 4, mode="replicate")
        return previous_B3HW + torch.tanh(self.layers(padded_B3HW))


class Discriminator(nn.Module):
    """The WGAN critic: float B3HW, H and W >= 11 -> B1hw scores, one for each 11 x 11 patch.

    Higher is more real. Patches share the normalisation's statistics of the image, and nothing else.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = _convolutions(channels, 1, partial(nn.InstanceNorm2d, affine=True))

    def forward(self, x_B3HW: Tensor) -> Tensor:
        """Scores, 10 pixels less on each axis."""
        score_B1hw: Tensor = self.layers(x_B3HW)
        return score_B1hw


def build_scale(channels: int, seed: int) -> tuple[Generator, Discriminator]:
    """A fresh pair whose weights depend on `seed` (0 <= seed < 2**63) only; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Generator(channels), Discriminator(channels)

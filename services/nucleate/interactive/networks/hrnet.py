"""HRNet: branches of stride 4, 8, 16 and 32 that exchange features all the way (Wang et al. 2019; report figure 3.3)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nucleate.interactive.networks.architectures import Architecture
from nucleate.interactive.networks.layers import basic_block, bottleneck_block, conv_bn


def _upsample(x_BCHW: Tensor, factor: int) -> Tensor:
    """Bilinear upsampling by a whole factor, pixel centres aligned."""
    return F.interpolate(x_BCHW, scale_factor=float(factor), mode="bilinear", align_corners=False)


class Exchange(nn.Module):
    """Sends branch `source` to the resolution of branch `target`: strided convolutions down, 1x1 and bilinear up."""

    def __init__(self, widths: Sequence[int], source: int, target: int) -> None:
        super().__init__()
        self.factor = 2 ** max(source - target, 0)
        if source > target:
            self.path: nn.Module = conv_bn(widths[source], widths[target], 1, relu=False)
        elif source == target:
            self.path = nn.Identity()
        else:
            downs = [conv_bn(widths[source], widths[source], 3, 2) for _ in range(target - source - 1)]
            self.path = nn.Sequential(*downs, conv_bn(widths[source], widths[target], 3, 2, relu=False))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return the features at the target branch's size."""
        y_BCHW: Tensor = self.path(x_BCHW)
        return _upsample(y_BCHW, self.factor) if self.factor > 1 else y_BCHW


class ExchangeModule(nn.Module):
    """Residual blocks on every branch, then every branch becomes the sum of all branches."""

    def __init__(self, widths: Sequence[int], blocks: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(nn.Sequential(*(basic_block(width) for _ in range(blocks))) for width in widths)
        everyone = range(len(widths))
        self.exchanges = nn.ModuleList(nn.ModuleList(Exchange(widths, s, t) for s in everyone) for t in everyone)

    def forward(self, xs: list[Tensor]) -> list[Tensor]:
        """Keep the number of branches and their sizes."""
        ys = [branch(x_BCHW) for branch, x_BCHW in zip(self.branches, xs, strict=True)]
        fused = []
        for row in self.exchanges:
            assert isinstance(row, nn.ModuleList)
            parts = [exchange(y_BCHW) for exchange, y_BCHW in zip(row, ys, strict=True)]
            fused.append(F.relu(sum(parts[1:], parts[0])))
        return fused


class HRNet(nn.Module):
    """Three input channels to 15 * width features at stride 4; height and width must be multiples of 32."""

    def __init__(self, config: Architecture) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv_bn(3, config.stem, 3, 2), conv_bn(config.stem, config.stem, 3, 2))
        channels = [config.stem] + [4 * config.bottleneck] * config.stem_blocks
        self.first = nn.Sequential(*(bottleneck_block(inputs, config.bottleneck) for inputs in channels[:-1]))
        widths = [config.width * 2**level for level in range(4)]
        self.enter = conv_bn(channels[-1], widths[0])
        # Stage n starts with one more branch, made from the lowest one that there is.
        lowest = [channels[-1], *widths[1:3]]
        self.starts = nn.ModuleList(conv_bn(lowest[level], widths[level + 1], 3, 2) for level in range(3))
        self.stages = nn.ModuleList(
            nn.ModuleList(ExchangeModule(widths[: level + 2], config.blocks) for _ in range(config.modules[level]))
            for level in range(3)
        )

    def forward(self, x_B3HW: Tensor) -> Tensor:
        """Return B x 15*width x H/4 x W/4."""
        x_BCHW = self.first(self.stem(x_B3HW))
        branches = [self.enter(x_BCHW)]
        lowest = x_BCHW
        for start, stage in zip(self.starts, self.stages, strict=True):
            branches = [*branches, start(lowest)]
            assert isinstance(stage, nn.ModuleList)
            for module in stage:
                branches = module(branches)
            lowest = branches[-1]
        return torch.cat([_upsample(y, 2**level) if level else y for level, y in enumerate(branches)], 1)

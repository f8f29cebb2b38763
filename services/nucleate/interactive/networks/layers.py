"""Building blocks shared by the fusion models, HRNet and the object-context head."""

from __future__ import annotations

import copy
from typing import TypeVar

from torch import Tensor, nn

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def conv_bn(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, *, relu: bool = True) -> nn.Sequential:
    """Convolution without bias, batch normalization and, unless `relu` is off, a ReLU; size is kept up to the stride."""
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
    ]
    return nn.Sequential(*layers, nn.ReLU()) if relu else nn.Sequential(*layers)


class Residual(nn.Module):
    """y = relu(shortcut(x) + residual(x)) (He et al. 2016); the shortcut is projected where the channels differ."""

    def __init__(self, inputs: int, outputs: int, residual: nn.Module) -> None:
        super().__init__()
        self.residual = residual
        self.shortcut = nn.Identity() if inputs == outputs else conv_bn(inputs, outputs, 1, relu=False)
        self.activation = nn.ReLU()

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Keep height and width."""
        y_BCHW: Tensor = self.activation(self.shortcut(x_BCHW) + self.residual(x_BCHW))
        return y_BCHW


def shallow_copy(module: ModuleT) -> ModuleT:
    """A copy that shares every weight, but whose direct parts can be replaced without touching the original."""
    copied = copy.copy(module)
    vars(copied)["_modules"] = dict(vars(module)["_modules"])
    return copied


def basic_block(channels: int) -> Residual:
    """Two 3x3 convolutions."""
    return Residual(channels, channels, nn.Sequential(conv_bn(channels, channels), conv_bn(channels, channels, relu=False)))


def bottleneck_block(inputs: int, inner: int) -> Residual:
    """1x1, 3x3, 1x1 convolutions with 4 * `inner` output channels."""
    residual = nn.Sequential(conv_bn(inputs, inner, 1), conv_bn(inner, inner), conv_bn(inner, 4 * inner, 1, relu=False))
    return Residual(inputs, 4 * inner, residual)

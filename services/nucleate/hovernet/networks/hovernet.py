"""The HoVer-Net network (Graham et al. 2019, section 3.1, figure 2): as published, and same-padded at any width.

As published it comes in two forms: `original`, unpadded, from 270 px to the 80 px in their middle, and `fast`, whose encoder is
padded, from 256 px to 164 px; with dense units of kernel 5 and 3, batch normalization, and colours alone for input.

The same-padded form gives maps of the input's size. It departs in two ways: groups of channels are normalised (Wu & He 2018)
instead of batches, because statistics of batches of four windows did not carry over to images of another stain (AJI .15 against
.23 after 150 steps on the same labels); and the input has the four planes of `standardised_input`.

Shape legend: B batch, C channels, H, W pixels; N is the number of nucleus types plus background.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nucleate.pathology.stains.standardised_input import PLANES

STRIDE = 8  # the deepest encoder stage relative to the stem's output
COLOURS = 3


@dataclasses.dataclass(frozen=True)
class Architecture:
    """What decides the parameters of a `HoVerNet`; stored in every model card.

    `width` scales all channel counts of the paper (1.0 = Preact-ResNet50, 0.25 = 2.1 M parameters). `stem_stride` 2 computes at
    half resolution and doubles the output bilinearly. `units` are residual units per encoder stage, `dense` are dense units of
    the two deeper decoder stages, `kernel` is the side of their convolutions. `classes` names the types of nuclei; without any
    there is no type branch. `published` is the paper's form: decoders without padding, so that the output
    lacks `margin` on each side, a stem without padding where the kernel is 5, and batch normalization.
    """

    width: float = 1.0
    stem_stride: int = 1
    units: tuple[int, int, int, int] = (3, 4, 6, 3)
    dense: tuple[int, int] = (8, 4)
    kernel: int = 3
    classes: tuple[str, ...] = ()
    published: bool = False

    def channels(self, full: int) -> int:
        """The paper's channel count `full` scaled by the width, a multiple of 4 and at least 4."""
        return max(4, round(full * self.width / 4) * 4)

    @property
    def multiple(self) -> int:
        """Input height and width must be a multiple of this, plus `stem_crop`."""
        return STRIDE * self.stem_stride

    @property
    def stem_crop(self) -> int:
        """What an unpadded stem crops off height and width before they are halved."""
        return 6 if self.published and self.kernel == 5 else 0

    @property
    def margin(self) -> int:
        """Pixels on each side of the input that only give context: the output shows what lies inside of them."""
        if not self.published:
            return 0
        lost = self.kernel // 2  # on each side, by an unpadded convolution
        return self.stem_crop // 2 + lost * (4 * (1 + self.dense[0]) + 2 * (1 + self.dense[1]))

    @property
    def planes(self) -> int:
        """Leading planes of `standardised_input` that the network looks at."""
        return COLOURS if self.published else PLANES


@dataclasses.dataclass(frozen=True)
class Maps:
    """Network output: `np` B2HW logits (background, nucleus), `hv` B2HW (horizontal, vertical), `types` BNHW logits or None."""

    np: Tensor
    hv: Tensor
    types: Tensor | None = None

    def float(self) -> Maps:
        """The same in single precision, in which losses are summed."""
        return Maps(self.np.float(), self.hv.float(), None if self.types is None else self.types.float())


def _norm_relu(channels: int, *, batch: bool) -> nn.Sequential:
    norm = nn.BatchNorm2d(channels) if batch else nn.GroupNorm(_groups(channels), channels)
    return nn.Sequential(norm, nn.ReLU(inplace=True))


def _groups(channels: int) -> int:
    """As many groups of 4 channels as divide `channels`, at most 8."""
    return next(groups for groups in range(min(8, channels // 4), 0, -1) if channels % groups == 0)


def _conv(inputs: int, outputs: int, kernel: int = 1, stride: int = 1, *, padded: bool = True) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2 if padded else 0, bias=False)


def _centre_crop(x_BCHW: Tensor, like_BCHW: Tensor) -> Tensor:
    """The middle of a map, of another one's height and width."""
    top, left = ((have - want) // 2 for have, want in zip(x_BCHW.shape[2:], like_BCHW.shape[2:], strict=True))
    return x_BCHW[:, :, top : top + like_BCHW.shape[2], left : left + like_BCHW.shape[3]]


class ResidualUnit(nn.Module):
    """Pre-activated bottleneck: 1x1, 3x3 (stride), 1x1 plus shortcut (He et al. 2016, figure 4e).

    `activate` is off where the input is activated already: as published, in the first unit of a stage.
    """

    def __init__(self, inputs: int, middle: int, outputs: int, stride: int, *, batch: bool, activate: bool) -> None:
        super().__init__()
        self.pre: nn.Module = _norm_relu(inputs, batch=batch) if activate else nn.Identity()
        self.body = nn.Sequential(
            _conv(inputs, middle),
            _norm_relu(middle, batch=batch),
            _conv(middle, middle, 3, stride),
            _norm_relu(middle, batch=batch),
            _conv(middle, outputs),
        )
        self.shortcut = _conv(inputs, outputs, stride=stride) if stride > 1 or inputs != outputs else None

    def forward(self, x_BCHW: Tensor) -> Tensor:  # noqa: D102 - the class says it
        activated = self.pre(x_BCHW)
        shortcut: Tensor = x_BCHW if self.shortcut is None else self.shortcut(activated)
        body: Tensor = self.body(activated)
        return body + shortcut


class DenseUnit(nn.Module):
    """Adds 32 channels, scaled by the width: normalise, 1x1, kxk in 4 groups, concatenate (Graham et al. 2019, figure 2)."""

    def __init__(self, inputs: int, arch: Architecture) -> None:
        super().__init__()
        batch, middle, growth = arch.published, arch.channels(128), arch.channels(32)
        self.padded = not arch.published
        padding = arch.kernel // 2 if self.padded else 0
        self.body = nn.Sequential(
            _norm_relu(inputs, batch=batch),
            _conv(inputs, middle),
            _norm_relu(middle, batch=batch),
            nn.Conv2d(middle, growth, arch.kernel, padding=padding, groups=4, bias=False),
        )

    def forward(self, x_BCHW: Tensor) -> Tensor:  # noqa: D102 - the class says it
        grown: Tensor = self.body(x_BCHW)
        return torch.cat([x_BCHW if self.padded else _centre_crop(x_BCHW, grown), grown], dim=1)


class Encoder(nn.Module):
    """Preact-ResNet with a 7x7 stem and no pooling; returns the stages' features at strides 1, 2, 4, 8 of the stem's output."""

    def __init__(self, arch: Architecture) -> None:
        super().__init__()
        c, batch = arch.channels, arch.published
        stem = _conv(arch.planes, c(64), 7, arch.stem_stride, padded=not arch.stem_crop)
        self.stem = nn.Sequential(stem, _norm_relu(c(64), batch=batch))
        stages, inputs = [], c(64)
        for index, count in enumerate(arch.units):
            middle, outputs, stride = c(64 * 2**index), c(256 * 2**index), 1 if index == 0 else 2
            units = [ResidualUnit(inputs, middle, outputs, stride, batch=batch, activate=not arch.published)]
            units += [ResidualUnit(outputs, middle, outputs, 1, batch=batch, activate=True) for _ in range(count - 1)]
            stages.append(nn.Sequential(*units, _norm_relu(outputs, batch=batch)))
            inputs = outputs
        self.stages = nn.ModuleList(stages)
        self.bottom = _conv(inputs, c(1024))

    def forward(self, image_B4HW: Tensor) -> list[Tensor]:  # noqa: D102 - the class says it
        x = self.stem(image_B4HW)
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        features[-1] = self.bottom(x)
        return features


class Decoder(nn.Module):
    """One branch: three times upsample, add the skip, convolve, dense block, 1x1 (Graham et al. 2019, figure 2)."""

    def __init__(self, arch: Architecture, outputs: int) -> None:
        super().__init__()
        c, k = arch.channels, arch.kernel
        self.padded = not arch.published
        self.deep = self._stage(c(1024), c(256), arch.dense[0], c(512), arch)
        self.middle = self._stage(c(512), c(128), arch.dense[1], c(256), arch)
        self.shallow = _conv(c(256), c(64), k)  # padded in every form
        self.head = nn.Sequential(_norm_relu(c(64), batch=arch.published), nn.Conv2d(c(64), outputs, 1))

    @staticmethod
    def _stage(inputs: int, start: int, count: int, outputs: int, arch: Architecture) -> nn.Sequential:
        widths = [start + i * arch.channels(32) for i in range(count + 1)]
        return nn.Sequential(
            _conv(inputs, start, arch.kernel, padded=not arch.published),
            *(DenseUnit(width, arch) for width in widths[:-1]),
            _norm_relu(widths[-1], batch=arch.published),
            _conv(widths[-1], outputs),
        )

    def forward(self, features: Sequence[Tensor]) -> Tensor:  # noqa: D102 - the class says it
        shallow, middle, deep, bottom = features
        x = self.deep(_upsample(bottom) + deep)
        for skip, stage in ((middle, self.middle), (shallow, self.shallow)):
            x = _upsample(x)
            x = stage(x + (skip if self.padded else _centre_crop(skip, x)))
        logits: Tensor = self.head(x)
        return logits


def _upsample(x_BCHW: Tensor) -> Tensor:
    return F.interpolate(x_BCHW, scale_factor=2.0, mode="nearest")


def stack_maps(maps: Maps) -> Tensor:
    """Nuclear probability, distances and, of a typed network, the probabilities of background and every type; BChw."""
    planes = [torch.sigmoid(maps.np[:, 1:] - maps.np[:, :1]), maps.hv]  # softmax of two, at a tenth of its time in ONNX Runtime
    return torch.cat(planes if maps.types is None else [*planes, maps.types.softmax(1)], dim=1)


class HoVerNet(nn.Module):
    """Nuclear pixels (NP), horizontal-vertical distances (HV) and, with `classes`, nucleus types (NC) from one encoder."""

    def __init__(self, arch: Architecture) -> None:
        super().__init__()
        self.arch = arch
        self.encoder = Encoder(arch)
        self.np = Decoder(arch, 2)
        self.hv = Decoder(arch, 2)
        self.types = Decoder(arch, len(arch.classes) + 1) if arch.classes else None

    def forward(self, image_B4HW: Tensor) -> Maps:
        """Maps of the input without `Architecture.margin`.

        `image_B4HW` holds the planes of `standardised_input` as floats in 0..1; H and W are multiples of
        `Architecture.multiple`, plus `Architecture.stem_crop`.
        """
        features = self.encoder(self._seen(image_B4HW))
        types = None if self.types is None else self._full(self.types(features))
        return Maps(self._full(self.np(features)), self._full(self.hv(features)), types)

    def maps(self, image_B4HW: Tensor) -> Tensor:
        """What inference reads, on the CPU: nuclear probability, horizontal and vertical distance, type probabilities; BChw."""
        self.eval()
        with torch.inference_mode():
            image = image_B4HW.to(next(self.parameters()).device).contiguous(memory_format=torch.channels_last)
            return stack_maps(self(image)).float().cpu()

    def features(self, image_B4HW: Tensor) -> Tensor:
        """Deepest encoder features BCHW, at 1 / `Architecture.multiple` of the input's size."""
        deepest: Tensor = self.encoder(self._seen(image_B4HW))[-1]
        return deepest

    def _seen(self, image_B4HW: Tensor) -> Tensor:
        return image_B4HW[:, : self.arch.planes] * 2.0 - 1.0

    def _full(self, x_BCHW: Tensor) -> Tensor:
        scale = self.arch.stem_stride
        return x_BCHW if scale == 1 else F.interpolate(x_BCHW, scale_factor=float(scale), mode="bilinear", align_corners=False)


def build(arch: Architecture, seed: int) -> HoVerNet:
    """A network of random weights, the same for the same seed, without touching the global generator.

    The weights are torch's own (uniform, by fan-in). He's normal ones, 2.4 times larger, learn far slower under AdamW: after
    150 steps on the same labels AJI .15 instead of .36.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = HoVerNet(arch)
    return net.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

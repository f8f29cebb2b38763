"""The network of figure 3.2: fusion models, HRNet, scale and bias after the concatenation, object-context head."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nucleate.interactive.networks.architectures import Architecture
from nucleate.interactive.networks.hrnet import HRNet
from nucleate.interactive.networks.latent_diversity import CandidateMasks
from nucleate.interactive.networks.layers import conv_bn, shallow_copy
from nucleate.interactive.networks.network_input import PLANES
from nucleate.interactive.networks.object_context import ObjectContextHead

STRIDE = 4
CHANNELS = (PLANES, 2, 1)  # of image, clicks and previous mask
_MEAN, _STD = 0.65, 0.22


class FusionModel(nn.Module):
    """1x1 convolution to 8 channels, LeakyReLU(0.2), batch normalization, 1x1 convolution to 3 channels."""

    def __init__(self, inputs: int, passthrough: int = 0) -> None:
        """`passthrough`: so many leading channels are passed on at the start of training, so that colours reach HRNet early."""
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(inputs, 8, 1), nn.LeakyReLU(0.2), nn.BatchNorm2d(8), nn.Conv2d(8, 3, 1))
        if passthrough:
            first, last = self.layers[0], self.layers[3]
            assert isinstance(first, nn.Conv2d)
            assert isinstance(last, nn.Conv2d)
            with torch.no_grad():
                for channel in range(passthrough):
                    first.weight[channel] = torch.eye(inputs)[channel, :, None, None]
                    last.weight[channel] = torch.eye(8)[channel, :, None, None]

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Keep height and width; three channels out."""
        y_B3HW: Tensor = self.layers(x_BCHW)
        return y_B3HW


class Encoder(nn.Module):
    """Everything before scale and bias; this part is exported to ONNX."""

    def __init__(self, config: Architecture) -> None:
        super().__init__()
        self.fuse_image = FusionModel(PLANES + 2, passthrough=3)
        self.fuse_mask = FusionModel(3)
        self.mix = FusionModel(6, passthrough=3)
        self.backbone = HRNet(config)
        half = max(config.segmentation // 2, 4)
        self.segmentation = nn.Sequential(conv_bn(3, half, 3, 2), conv_bn(half, config.segmentation, 3, 2))

    def forward(self, image_BPHW: Tensor, clicks_B2HW: Tensor, previous_B1HW: Tensor) -> Tensor:
        """Features at stride 4.

        Args:
            image_BPHW: `network_input` in 0..1, height and width multiples of 32.
            clicks_B2HW: positive and negative click maps in 0..1.
            previous_B1HW: previous mask in 0..1; all zero when there is none (feedback off).

        Returns:
            B x features x H/4 x W/4.
        """
        planes_BPHW = (image_BPHW - _MEAN) / _STD
        fused_image_B3HW = self.fuse_image(torch.cat([planes_BPHW, clicks_B2HW], 1))
        fused_mask_B3HW = self.fuse_mask(torch.cat([previous_B1HW, clicks_B2HW], 1))
        mixed_B3HW = self.mix(torch.cat([fused_image_B3HW, fused_mask_B3HW], 1))
        return torch.cat([self.backbone(mixed_B3HW), self.segmentation(fused_mask_B3HW)], 1)


def _full_size(logits_BMHW: Tensor) -> Tensor:
    return F.interpolate(logits_BMHW, scale_factor=float(STRIDE), mode="bilinear", align_corners=False)


class InteractiveNetwork(nn.Module):
    """Encoder, scale and bias, head."""

    def __init__(self, config: Architecture) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.head = ObjectContextHead(config.features, config.context, config.masks)

    def decode(self, features_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Head on s * F(x) + b; full-resolution nucleus logits B x 1 x H x W and the auxiliary logits at stride 4."""
        logits_B1HW, auxiliary_BKHW = self.head(features_BCHW)
        return _full_size(logits_B1HW), auxiliary_BKHW

    def candidate_masks(self, image_BPHW: Tensor, clicks_B2HW: Tensor, previous_B1HW: Tensor) -> CandidateMasks:
        """Every mask at full resolution, for training; see `Encoder.forward`."""
        candidates = self.head.candidate_masks(self.encoder(image_BPHW, clicks_B2HW, previous_B1HW))
        return replace(candidates, logits=_full_size(candidates.logits))

    def with_selected_mask(self, features_1CHW: Tensor) -> InteractiveNetwork:
        """The network of the one mask that is selected for these features: an optimization must not change its object."""
        head = self.head.with_selected_mask(features_1CHW)
        if head is self.head:
            return self
        network = shallow_copy(self)
        network.head = head
        return network

    def forward(self, image_BPHW: Tensor, clicks_B2HW: Tensor, previous_B1HW: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of one forward pass without refinement; see `Encoder.forward` and `decode`."""
        return self.decode(self.encoder(image_BPHW, clicks_B2HW, previous_B1HW))

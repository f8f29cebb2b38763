"""Object-context head (Yuan et al. 2020) with two classes, nucleus and background, so that its attention is not trivial."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nucleate.interactive.layers import conv_bn

CLASSES = 2


class ObjectContextHead(nn.Module):
    """Reads s * F(x) + b: rough class maps -> class vectors -> every pixel attends to both -> one logit per pixel."""

    def __init__(self, inputs: int, context: int) -> None:
        super().__init__()
        self.scale = context**-0.5
        self.auxiliary = nn.Sequential(conv_bn(inputs, 2 * context, 1), nn.Conv2d(2 * context, CLASSES, 1))
        self.pixels = conv_bn(inputs, 2 * context)
        self.query = conv_bn(2 * context, context, 1)
        self.key = nn.Sequential(nn.Linear(2 * context, context), nn.ReLU())
        self.value = nn.Sequential(nn.Linear(2 * context, context), nn.ReLU())
        self.restore = conv_bn(context, 2 * context, 1)
        self.mix = conv_bn(4 * context, 2 * context, 1)
        self.classify = nn.Conv2d(2 * context, 1, 1)

    def forward(self, features_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits B x 1 x h x w (nucleus) and auxiliary logits B x 2 x h x w (nucleus, background)."""
        auxiliary_BKHW, pixels_BDHW = self.auxiliary(features_BCHW), self.pixels(features_BCHW)
        mixed_BDHW = self.describe(pixels_BDHW, self.objects(auxiliary_BKHW, pixels_BDHW))
        return self.classify(mixed_BDHW), auxiliary_BKHW

    def objects(self, auxiliary_BKHW: Tensor, pixels_BDHW: Tensor) -> Tensor:
        """Class vectors B x K x D: mean of the pixel features, weighted by where the rough map sees the class."""
        regions_BKN = auxiliary_BKHW.flatten(2).softmax(2)
        objects_BKD: Tensor = regions_BKN @ pixels_BDHW.flatten(2).transpose(1, 2)
        return objects_BKD

    def describe(self, pixels_BDHW: Tensor, objects_BKD: Tensor) -> Tensor:
        """Pixel features after every pixel has attended to the classes, B x D x h x w; no pixel sees another one here."""
        query_BNC = self.query(pixels_BDHW).flatten(2).transpose(1, 2)
        relation_BNK = (query_BNC @ self.key(objects_BKD).transpose(1, 2) * self.scale).softmax(2)
        context_BCN = (relation_BNK @ self.value(objects_BKD)).transpose(1, 2)
        context_BCHW = context_BCN.unflatten(2, pixels_BDHW.shape[2:])
        mixed_BDHW: Tensor = self.mix(torch.cat([self.restore(context_BCHW), pixels_BDHW], 1))
        return mixed_BDHW

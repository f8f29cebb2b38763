"""Object-context head (Yuan et al. 2020) with two classes, nucleus and background, so that its attention is not trivial."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nucleate.interactive.networks.latent_diversity import CandidateMasks, SelectionNetwork
from nucleate.interactive.networks.layers import conv_bn, shallow_copy

CLASSES = 2
BIAS_SPREAD = 2.0  # of the masks' first logits


class ObjectContextHead(nn.Module):
    """Reads s * F(x) + b: soft object regions -> region representations -> pixel-region attention -> logits per pixel and mask.

    With more than one mask, `selection` picks one of them for each item of the batch. Terms are those of the paper.
    """

    def __init__(self, inputs: int, context: int, masks: int = 1) -> None:
        super().__init__()
        self.scale = context**-0.5
        self.auxiliary = nn.Sequential(conv_bn(inputs, 2 * context, 1), nn.Conv2d(2 * context, CLASSES, 1))
        self.pixels = conv_bn(inputs, 2 * context)
        self.query = conv_bn(2 * context, context, 1)
        self.key = nn.Sequential(nn.Linear(2 * context, context), nn.ReLU())
        self.value = nn.Sequential(nn.Linear(2 * context, context), nn.ReLU())
        self.restore = conv_bn(context, 2 * context, 1)
        self.mix = conv_bn(4 * context, 2 * context, 1)
        self.classify = nn.Conv2d(2 * context, masks, 1)
        self.selection = SelectionNetwork(2 * context, masks) if masks > 1 else None
        if masks > 1:
            # From generous to tight, else one mask is the best for every sample from the start and the others only follow it.
            self.classify.bias = nn.Parameter(torch.linspace(BIAS_SPREAD, -BIAS_SPREAD, masks))

    def forward(self, features_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits B x 1 x h x w (nucleus) and auxiliary logits B x 2 x h x w (nucleus, background)."""
        candidates = self.candidate_masks(features_BCHW)
        return candidates.selected(), candidates.auxiliary

    def candidate_masks(self, features_BCHW: Tensor) -> CandidateMasks:
        """Every mask at stride 4, before one is selected."""
        auxiliary_BKHW, pixels_BDHW = self.auxiliary(features_BCHW), self.pixels(features_BCHW)
        augmented_BDHW = self.augmented_representations(pixels_BDHW, self.region_representations(auxiliary_BKHW, pixels_BDHW))
        logits_BMHW = self.classify(augmented_BDHW)
        if self.selection is None:
            return CandidateMasks(logits_BMHW, auxiliary_BKHW, logits_BMHW.new_zeros(len(logits_BMHW), 1))
        return CandidateMasks(logits_BMHW, auxiliary_BKHW, self.selection(augmented_BDHW, logits_BMHW))

    def with_selected_mask(self, features_1CHW: Tensor) -> ObjectContextHead:
        """The head of the one mask that is selected for these features; shares all weights, and selects none itself."""
        if self.selection is None:
            return self
        with torch.no_grad():
            mask = int(self.candidate_masks(features_1CHW).scores.argmax())
        assert self.classify.bias is not None
        head = shallow_copy(self)
        head.classify = nn.Conv2d(self.classify.in_channels, 1, 1, device="meta")
        head.classify.weight = nn.Parameter(self.classify.weight[mask : mask + 1], requires_grad=False)
        head.classify.bias = nn.Parameter(self.classify.bias[mask : mask + 1], requires_grad=False)
        head.selection = None
        return head

    def region_representations(self, auxiliary_BKHW: Tensor, pixels_BDHW: Tensor) -> Tensor:
        """Region representations B x K x D: mean of the pixel features, weighted by the soft region of each class."""
        regions_BKN = auxiliary_BKHW.flatten(2).softmax(2)
        regions_BKD: Tensor = regions_BKN @ pixels_BDHW.flatten(2).transpose(1, 2)
        return regions_BKD

    def augmented_representations(self, pixels_BDHW: Tensor, regions_BKD: Tensor) -> Tensor:
        """Augmented representations, B x D x h x w: every pixel has attended to the regions; no pixel sees another one here."""
        query_BNC = self.query(pixels_BDHW).flatten(2).transpose(1, 2)
        relation_BNK = (query_BNC @ self.key(regions_BKD).transpose(1, 2) * self.scale).softmax(2)
        context_BCN = (relation_BNK @ self.value(regions_BKD)).transpose(1, 2)
        context_BCHW = context_BCN.unflatten(2, pixels_BDHW.shape[2:])
        augmented_BDHW: Tensor = self.mix(torch.cat([self.restore(context_BCHW), pixels_BDHW], 1))
        return augmented_BDHW

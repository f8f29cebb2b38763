"""The auxiliary parameters that refinement optimizes: the logits under a change `delta` of them, and its inertial energy."""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from nucleate import errors
from nucleate.interactive.networks.interactive_network import STRIDE, InteractiveNetwork
from nucleate.interactive.refinement.options import EncoderInputs, Method

BIAS_WEIGHT = 10.0  # a bias costs ten times as much as a scale, as in the published f-BRS
INERTIAL_WEIGHT = 1e-3


class AuxiliaryParameters(Protocol):
    """Parameters of a part of the network; their change `delta` has `length` values, all zero for none.

    `carried_over`: whether the next click starts from the change of the last one.
    """

    length: int
    carried_over: bool

    def logits(self, delta: Tensor) -> Tensor:
        """Nucleus logits H x W at full resolution, differentiable in `delta`."""
        ...

    def inertial_energy(self, delta: Tensor) -> Tensor:
        """Inertial energy, 0 for no change, without its factor lambda."""
        ...


def _full_size(logits_11HW: Tensor) -> Tensor:
    return F.interpolate(logits_11HW, scale_factor=float(STRIDE), mode="bilinear", align_corners=False)[0, 0]


def _scale_bias_energy(delta: Tensor) -> Tensor:
    scale_C, bias_C = delta.chunk(2)
    return scale_C.square().sum() + BIAS_WEIGHT * bias_C.square().sum()


class FeatureScaleBias:
    """f-BRS-A and -B: (1 + ds) * F(x) + db on the first `channels` channels of the encoder's output, 1 x C x h x w."""

    carried_over = True

    def __init__(self, network: InteractiveNetwork, features_1CHW: Tensor, channels: int) -> None:
        self.length = 2 * channels
        self.head, self.features, self._rest = network.head, features_1CHW, features_1CHW.shape[1] - channels

    def logits(self, delta: Tensor) -> Tensor:
        """See `AuxiliaryParameters`."""
        return self.decode(delta)[0]

    def decode(self, delta: Tensor) -> tuple[Tensor, Tensor]:
        """Logits H x W, and the head's region representations 1 x K x D behind them."""
        scale_C, bias_C = (F.pad(part, (0, self._rest)) for part in delta.chunk(2))
        changed_1CHW = torch.addcmul(bias_C[None, :, None, None], self.features, 1 + scale_C[None, :, None, None])
        pixels_1DHW = self.head.pixels(changed_1CHW)
        regions_1KD = self.head.region_representations(self.head.auxiliary(changed_1CHW), pixels_1DHW)
        return _full_size(self.head.classify(self.head.augmented_representations(pixels_1DHW, regions_1KD))), regions_1KD

    def inertial_energy(self, delta: Tensor) -> Tensor:
        """|ds|^2 + 10 |db|^2."""
        return _scale_bias_energy(delta)


class ClassifierScaleBias:
    """f-BRS-C: scale and bias on what the head's last classifier reads; everything before it runs once."""

    carried_over = True

    def __init__(self, network: InteractiveNetwork, features_1CHW: Tensor) -> None:
        head = network.head
        with torch.no_grad():
            pixels_1DHW = head.pixels(features_1CHW)
            regions_1KD = head.region_representations(head.auxiliary(features_1CHW), pixels_1DHW)
            self._augmented_1DHW = head.augmented_representations(pixels_1DHW, regions_1KD)
        self.length = 2 * self._augmented_1DHW.shape[1]
        self._classify = head.classify

    def logits(self, delta: Tensor) -> Tensor:
        """See `AuxiliaryParameters`."""
        scale_D, bias_D = (part[None, :, None, None] for part in delta.chunk(2))
        return _full_size(self._classify(torch.addcmul(bias_D, self._augmented_1DHW, 1 + scale_D)))

    def inertial_energy(self, delta: Tensor) -> Tensor:
        """|ds|^2 + 10 |db|^2."""
        return _scale_bias_energy(delta)


class InputPerturbation:
    """BRS and RGB-BRS: a change of every pixel of the click maps or of the image planes, through the whole network.

    The change belongs to the clicks so far (Jang & Kim start every click from its own maps), so it is not carried over.
    """

    carried_over = False

    def __init__(self, network: InteractiveNetwork, inputs: EncoderInputs, *, image: bool) -> None:
        self._network, self._inputs, self._image = network, inputs, image
        self._shape = (inputs.image if image else inputs.clicks).shape
        self.length = self._shape.numel()

    def logits(self, delta: Tensor) -> Tensor:
        """See `AuxiliaryParameters`."""
        image_1PHW, clicks_12HW = self._inputs.image, self._inputs.clicks
        if self._image:
            image_1PHW = image_1PHW + delta.view(self._shape)
        else:
            clicks_12HW = clicks_12HW + delta.view(self._shape)
        logits_11HW, _ = self._network(image_1PHW, clicks_12HW, self._inputs.previous)
        return torch.as_tensor(logits_11HW[0, 0])

    def inertial_energy(self, delta: Tensor) -> Tensor:
        """|z - z_0|^2."""
        return delta.square().sum()


def auxiliary_parameters(
    method: Method, network: InteractiveNetwork, features_1CHW: Tensor, inputs: EncoderInputs | None
) -> AuxiliaryParameters:
    """The parameters that a method optimizes.

    Raises:
        errors.InvalidInput: BRS or RGB-BRS without the encoder's inputs.
    """
    match method:
        case Method.BRS | Method.RGB_BRS:
            if inputs is None:
                raise errors.InvalidInput(f"{method} changes the network's inputs: give them")
            return InputPerturbation(network, inputs, image=method is Method.RGB_BRS)
        case Method.FBRS_C:
            return ClassifierScaleBias(network, features_1CHW)
        case Method.FBRS_A:
            return FeatureScaleBias(network, features_1CHW, 15 * network.config.width)
        case _:
            return FeatureScaleBias(network, features_1CHW, features_1CHW.shape[1])

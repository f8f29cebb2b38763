"""A trained ColorNormNet as a `Normalizer`."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nucleate.colornorm.colornormnet.colour_change import apply_changes
from nucleate.colornorm.colornormnet.network import ColorNormNet
from nucleate.colornorm.colornormnet.thumbnails import thumbnail
from nucleate.colornorm.methods.tissue_weights import TissueSample
from nucleate.errors import InvalidModel


class Predictor(Protocol):
    """The network in torch, or the same as an ONNX program."""

    def __call__(self, rgb_13hw: Tensor, weight_11hw: Tensor) -> Tensor:
        """Changes 1Kij of a thumbnail and its tissue weights."""
        ...


class ColorNormNetNormalizer:
    """The network with the side of its thumbnails and its mode."""

    def __init__(self, predict: Predictor, side: int, mode: str) -> None:
        self._predict = predict
        self._side = side
        self._mode = mode

    def measure(self, rgb_HW3: NDArray[np.uint8], tissue: TissueSample) -> NDArray[np.float64]:
        """The changes Kij that lead to the target; of mode `pixel` a small map, otherwise one for the whole image.

        Raises:
            InvalidModel: they are not finite.
        """
        with torch.inference_mode():
            changes = self._predict(*thumbnail(rgb_HW3, tissue, self._side))[0].cpu().numpy()
        if not np.isfinite(changes).all():
            raise InvalidModel("ColorNormNet's output is not finite: its weights are damaged, train it again")
        return np.asarray(changes, np.float64)

    def apply(self, rgb_HW3: NDArray[np.uint8], tissue: TissueSample, measured: NDArray[np.float64]) -> NDArray[np.uint8]:
        """The image under those changes."""
        return apply_changes(rgb_HW3, tissue, measured, self._mode)


def on_device(network: ColorNormNet) -> Predictor:
    """The network, called where its weights are."""
    device = network.free.device
    return lambda rgb, weight: network(rgb.to(device), weight.to(device))

"""Runs the encoder: ONNX Runtime for serving, torch for validation while a model is being trained.

Both take and give torch tensors on their device.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nucleate.interactive.networks.interactive_network import STRIDE, Encoder
from nucleate.learning.onnx_program import OnnxProgram

FILE = "backbone.onnx"
INPUTS = ("image", "clicks", "previous")
OUTPUT = "features"


class OnnxBackbone:
    """backbone.onnx in ONNX Runtime. `provider` says which execution provider really runs it."""

    def __init__(self, model: bytes, device: str = "cpu", threads: int = 0) -> None:
        """`threads` 0 = all cores.

        Raises:
            errors.InvalidModel: not an ONNX model, or one with other inputs or outputs.
            errors.Precondition: `cuda` is asked for and ONNX Runtime would fall back to the CPU.
        """
        self._program = OnnxProgram(model, FILE, INPUTS, OUTPUT, device, threads)
        self.provider = self._program.provider

    def encode(self, image_NPHW: Tensor, clicks_N2HW: Tensor, previous_N1HW: Tensor) -> Tensor:
        """Features N x C x H/4 x W/4 on the backbone's device; see `Encoder.forward`. Safe to call side by side."""
        height, width = image_NPHW.shape[2] // STRIDE, image_NPHW.shape[3] // STRIDE
        tensors = dict(zip(INPUTS, (image_NPHW, clicks_N2HW, previous_N1HW), strict=True))
        return self._program.run(tensors, height, width)


class TorchBackbone:
    """The encoder itself."""

    def __init__(self, encoder: Encoder, device: str = "cpu") -> None:
        self._encoder, self._device = encoder.eval(), device

    def encode(self, image_NPHW: Tensor, clicks_N2HW: Tensor, previous_N1HW: Tensor) -> Tensor:
        """Features N x C x H/4 x W/4 on the backbone's device; see `Encoder.forward`."""
        with torch.no_grad():
            features_NCHW: Tensor = self._encoder(*(x.to(self._device) for x in (image_NPHW, clicks_N2HW, previous_N1HW)))
        return features_NCHW

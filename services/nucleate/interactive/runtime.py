"""Runs the encoder: ONNX Runtime for serving, torch for validation while a model is being trained."""

from __future__ import annotations

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from nucleate import errors
from nucleate.interactive.network import Encoder

INPUTS = ("image", "clicks", "previous")
OUTPUT = "features"
_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class OnnxBackbone:
    """backbone.onnx in ONNX Runtime. `provider` says which execution provider really runs it."""

    def __init__(self, model: bytes, device: str = "cpu", threads: int = 0) -> None:
        """`threads` 0 = all cores.

        Raises:
            errors.InvalidModel: not an ONNX model, or one with other inputs.
            errors.Precondition: `cuda` is asked for and ONNX Runtime would fall back to the CPU.
        """
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        # Idle worker threads must not spin: the head runs between two encodings and needs the cores.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        wanted = _PROVIDERS[device]
        if wanted not in onnxruntime.get_available_providers():
            raise errors.Precondition(f"device={device}, but ONNX Runtime has no {wanted}: install the `gpu` extra")
        try:
            self._session = onnxruntime.InferenceSession(model, options, providers=[wanted])
        except Exception as error:  # ONNX Runtime raises a dozen unrelated classes for bad bytes
            raise errors.InvalidModel("backbone.onnx cannot be loaded: export the model again") from error
        self.provider: str = self._session.get_providers()[0]
        if self.provider != wanted:
            raise errors.Precondition(f"device={device}, but ONNX Runtime runs on {self.provider}: check the CUDA libraries")
        if tuple(node.name for node in self._session.get_inputs()) != INPUTS:
            raise errors.InvalidModel(f"backbone.onnx must take {', '.join(INPUTS)}: export the model again")

    def encode(
        self, image_NPHW: NDArray[np.float32], clicks_N2HW: NDArray[np.float32], previous_N1HW: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Features N x C x H/4 x W/4; see `network.Encoder.forward`."""
        feeds = dict(zip(INPUTS, (image_NPHW, clicks_N2HW, previous_N1HW), strict=True))
        return np.asarray(self._session.run([OUTPUT], feeds)[0], np.float32)


class TorchBackbone:
    """The encoder itself."""

    def __init__(self, encoder: Encoder, device: str = "cpu") -> None:
        self._encoder, self._device = encoder.eval(), device

    def encode(
        self, image_NPHW: NDArray[np.float32], clicks_N2HW: NDArray[np.float32], previous_N1HW: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Features N x C x H/4 x W/4; see `network.Encoder.forward`."""
        inputs = [torch.from_numpy(array).to(self._device) for array in (image_NPHW, clicks_N2HW, previous_N1HW)]
        with torch.no_grad():
            return np.asarray(self._encoder(*inputs).cpu().numpy(), np.float32)

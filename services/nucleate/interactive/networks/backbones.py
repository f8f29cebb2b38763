"""Runs the encoder: ONNX Runtime for serving, torch for validation while a model is being trained.

Both take and give torch tensors on their device. ONNX Runtime reads and writes the tensors' own memory (IOBinding), so on a GPU
nothing passes through the host, and on a CPU nothing is copied.
"""

from __future__ import annotations

import numpy as np
import onnxruntime
import torch
from torch import Tensor

from nucleate import errors
from nucleate.interactive.networks.network import STRIDE, Encoder

INPUTS = ("image", "clicks", "previous")
OUTPUT = "features"
_PROVIDERS = {
    "cpu": ("CPUExecutionProvider", {}),
    # Trying every convolution algorithm for each new frame size would make first clicks take seconds; TF32 would cost parity.
    "cuda": ("CUDAExecutionProvider", {"cudnn_conv_algo_search": "HEURISTIC", "use_tf32": "0"}),
}


class OnnxBackbone:
    """backbone.onnx in ONNX Runtime. `provider` says which execution provider really runs it."""

    def __init__(self, model: bytes, device: str = "cpu", threads: int = 0) -> None:
        """`threads` 0 = all cores.

        Raises:
            errors.InvalidModel: not an ONNX model, or one with other inputs or outputs.
            errors.Precondition: `cuda` is asked for and ONNX Runtime would fall back to the CPU.
        """
        self._device = torch.device(device)
        wanted = _PROVIDERS[device][0]
        if wanted not in onnxruntime.get_available_providers():
            raise errors.Precondition(f"device={device}, but ONNX Runtime has no {wanted}: install the `gpu` extra")
        try:
            self._session = onnxruntime.InferenceSession(model, _options(threads), providers=[_PROVIDERS[device]])
        except Exception as error:  # ONNX Runtime raises a dozen unrelated classes for bad bytes
            raise errors.InvalidModel("backbone.onnx cannot be loaded: export the model again") from error
        self.provider: str = self._session.get_providers()[0]
        if self.provider != wanted:
            raise errors.Precondition(f"device={device}, but ONNX Runtime runs on {self.provider}: check the CUDA libraries")
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if tuple(node.name for node in inputs) != INPUTS or [node.name for node in outputs] != [OUTPUT]:
            raise errors.InvalidModel(f"backbone.onnx must turn {', '.join(INPUTS)} into {OUTPUT}: export the model again")
        self._channels = outputs[0].shape[1]
        if type(self._channels) is not int:
            raise errors.InvalidModel("backbone.onnx leaves the number of its features open: export the model again")

    def encode(self, image_NPHW: Tensor, clicks_N2HW: Tensor, previous_N1HW: Tensor) -> Tensor:
        """Features N x C x H/4 x W/4 on the backbone's device; see `network.Encoder.forward`. Safe to call side by side."""
        count, _, height, width = image_NPHW.shape
        tensors = {
            name: tensor.to(self._device, torch.float32).contiguous()
            for name, tensor in zip(INPUTS, (image_NPHW, clicks_N2HW, previous_N1HW), strict=True)
        }
        features_NCHW = torch.empty((count, self._channels, height // STRIDE, width // STRIDE), device=self._device)
        binding = self._session.io_binding()
        for name, tensor in tensors.items():
            binding.bind_input(name, *_place(tensor))
        binding.bind_output(OUTPUT, *_place(features_NCHW))
        if features_NCHW.is_cuda:
            # ONNX Runtime has a stream of its own: what torch still writes, or reads of reused memory, must be done before.
            torch.cuda.current_stream(self._device).synchronize()
        self._session.run_with_iobinding(binding)
        binding.synchronize_outputs()
        return features_NCHW


class TorchBackbone:
    """The encoder itself."""

    def __init__(self, encoder: Encoder, device: str = "cpu") -> None:
        self._encoder, self._device = encoder.eval(), device

    def encode(self, image_NPHW: Tensor, clicks_N2HW: Tensor, previous_N1HW: Tensor) -> Tensor:
        """Features N x C x H/4 x W/4 on the backbone's device; see `network.Encoder.forward`."""
        with torch.no_grad():
            features_NCHW: Tensor = self._encoder(*(x.to(self._device) for x in (image_NPHW, clicks_N2HW, previous_N1HW)))
        return features_NCHW


def _options(threads: int) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    # Idle worker threads must not spin: the head runs between two encodings and needs the cores.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _place(tensor: Tensor) -> tuple[str, int, type[np.float32], tuple[int, ...], int]:
    """Where a tensor lies, as `bind_input` and `bind_output` take it: device, its number, type, shape, address."""
    return tensor.device.type, tensor.device.index or 0, np.float32, tuple(tensor.shape), tensor.data_ptr()

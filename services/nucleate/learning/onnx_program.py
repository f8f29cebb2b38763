"""A network as an ONNX file, and ONNX Runtime running it on torch tensors.

ONNX Runtime reads and writes the tensors' own memory (IOBinding), so on a GPU nothing passes through the host, and on a CPU
nothing is copied.
"""

from __future__ import annotations

import copy
import io
import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from nucleate import errors

OPSET = 17
_FREE = {0: "batch", 2: "height", 3: "width"}
# Names tell ONNX Runtime which sizes are equal, and an output's need not be the input's.
_FREE_OUTPUT = {0: "batch", 2: "output_height", 3: "output_width"}
_PROVIDERS = {
    "cpu": ("CPUExecutionProvider", {}),
    # Trying every convolution algorithm for each new size would make first calls take seconds; TF32 would cost parity.
    "cuda": ("CUDAExecutionProvider", {"cudnn_conv_algo_search": "HEURISTIC", "use_tf32": "0"}),
}


def export(network: nn.Module, inputs: Mapping[str, Tensor], output: str) -> bytes:
    """Trace a network in inference mode on the CPU; batch, height and width of its NCHW inputs and output stay free.

    Args:
        network: of one output; is not changed.
        inputs: an example of each, in order.
        output: its name.
    """
    traced = copy.deepcopy(network).cpu().eval()
    buffer = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        # The tracing exporter is deprecated but keeps the free sizes exact and takes a second, not twenty.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            traced,
            tuple(inputs.values()),
            buffer,  # type: ignore[arg-type]
            input_names=list(inputs),
            output_names=[output],
            dynamic_axes={**dict.fromkeys(inputs, _FREE), output: _FREE_OUTPUT},
            opset_version=OPSET,
            dynamo=False,
        )
    return buffer.getvalue()


class OnnxProgram:
    """An ONNX file in ONNX Runtime. `provider` says which execution provider really runs it; safe to call side by side."""

    def __init__(  # noqa: PLR0917 - the file and what it must be
        self, model: bytes, file: str, inputs: Sequence[str], output: str, device: str = "cpu", threads: int = 0
    ) -> None:
        """`file` names the model in errors; `threads` 0 = all cores.

        Raises:
            errors.InvalidModel: not an ONNX model, or one with other inputs or outputs.
            errors.Precondition: `cuda` is asked for and ONNX Runtime would fall back to the CPU.
        """
        self._device, self._output = torch.device(device), output
        wanted = _PROVIDERS[device][0]
        if wanted not in onnxruntime.get_available_providers():
            raise errors.Precondition(f"device={device}, but ONNX Runtime has no {wanted}: install the `gpu` extra")
        try:
            self._session = onnxruntime.InferenceSession(model, _options(threads), providers=[_PROVIDERS[device]])
        except Exception as error:  # ONNX Runtime raises a dozen unrelated classes for bad bytes
            raise errors.InvalidModel(f"{file} cannot be loaded: export the model again") from error
        self.provider: str = self._session.get_providers()[0]
        if self.provider != wanted:
            raise errors.Precondition(f"device={device}, but ONNX Runtime runs on {self.provider}: check the CUDA libraries")
        found = [node.name for node in self._session.get_inputs()], [node.name for node in self._session.get_outputs()]
        if found != (list(inputs), [output]):
            raise errors.InvalidModel(f"{file} must turn {', '.join(inputs)} into {output}: export the model again")
        channels = self._session.get_outputs()[0].shape[1]
        if type(channels) is not int:
            raise errors.InvalidModel(f"{file} leaves the number of its {output} open: export the model again")
        self._channels = channels

    def run(self, tensors: Mapping[str, Tensor], height: int, width: int) -> Tensor:
        """The output for named NCHW float inputs, N x channels x `height` x `width` float32 on the program's device."""
        placed = {name: tensor.to(self._device, torch.float32).contiguous() for name, tensor in tensors.items()}
        count = next(iter(placed.values())).shape[0]
        output_NCHW = torch.empty((count, self._channels, height, width), device=self._device)
        binding = self._session.io_binding()
        for name, tensor in placed.items():
            binding.bind_input(name, *_binding(tensor))
        binding.bind_output(self._output, *_binding(output_NCHW))
        if output_NCHW.is_cuda:
            # ONNX Runtime has a stream of its own: what torch still writes, or reads of reused memory, must be done before.
            torch.cuda.current_stream(self._device).synchronize()
        self._session.run_with_iobinding(binding)
        binding.synchronize_outputs()
        return output_NCHW


def _options(threads: int) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    # Idle worker threads must not spin: other work runs between two calls and needs the cores.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _binding(tensor: Tensor) -> tuple[str, int, type[np.float32], tuple[int, ...], int]:
    """Where a tensor lies, as `bind_input` and `bind_output` take it: device, its number, type, shape, address."""
    return tensor.device.type, tensor.device.index or 0, np.float32, tuple(tensor.shape), tensor.data_ptr()

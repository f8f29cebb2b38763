"""HoVer-Net as an ONNX program: exported once per model, run by ONNX Runtime on CPUs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nucleate.errors import InvalidModel
from nucleate.hovernet.networks.hovernet import Architecture, HoVerNet, stack_maps
from nucleate.learning.onnx_program import OnnxProgram, export

FILE = "model.onnx"
INPUT, OUTPUT = "image", "maps"
PARITY = 1e-2  # largest difference from torch on a fixed pattern, in units of probability and distance
_CELLS = 8  # side of the pattern in the network's own cells, beyond its margins


class _StackedMaps(nn.Module):
    """The network with its maps in one output."""

    def __init__(self, net: HoVerNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, image_B4HW: Tensor) -> Tensor:
        return stack_maps(self.net(image_B4HW))


def export_network(net: HoVerNet) -> bytes:
    """model.onnx: image B4HW in 0..1 to maps BChw as of `HoVerNet.maps`; batch, height and width stay free."""
    return export(_StackedMaps(net), {INPUT: _pattern(net.arch)}, OUTPUT)


class OnnxNetwork:
    """model.onnx in ONNX Runtime; a `sliding_window.Network`."""

    def __init__(self, model: bytes, arch: Architecture, device: str = "cpu", threads: int = 0) -> None:
        """`threads` 0 = all cores.

        Raises:
            InvalidModel: damaged, or not a HoVer-Net.
            Precondition: `device` is "cuda" and ONNX Runtime would fall back to the CPU.
        """
        self.arch = arch
        self._program = OnnxProgram(model, FILE, [INPUT], OUTPUT, device, threads)
        self.provider = self._program.provider

    def maps(self, image_B4HW: Tensor) -> Tensor:
        """See `HoVerNet.maps`."""
        height, width = (side - 2 * self.arch.margin for side in image_B4HW.shape[2:])
        return self._program.run({INPUT: image_B4HW}, height, width).cpu()


def load_network(model: bytes, net: HoVerNet, device: str = "cpu", threads: int = 0) -> OnnxNetwork:
    """model.onnx, checked against the weights it should come from on a fixed pattern.

    Raises:
        InvalidModel: damaged, or exported from other weights.
    """
    loaded, pattern = OnnxNetwork(model, net.arch, device, threads), _pattern(net.arch)
    try:
        found = loaded.maps(pattern)
    except Exception as error:  # wrong shapes inside the graph show only when it runs
        raise InvalidModel(f"{FILE} does not run: export the model again") from error
    expected = net.maps(pattern)
    if found.shape != expected.shape or not (found - expected).abs().max() <= PARITY:
        raise InvalidModel(f"{FILE} does not belong to the weights: export the model again")
    return loaded


def _pattern(arch: Architecture) -> Tensor:
    """A fixed picture of the smallest size that every form of the network takes."""
    cells = -(-2 * arch.margin // arch.multiple) + _CELLS
    height, width = (arch.multiple * count + arch.stem_crop for count in (cells, cells + 1))
    return torch.rand((1, 4, height, width), generator=torch.Generator().manual_seed(0))

"""ONNX Runtime gives what torch gives, for every form of the network, at any size; what is no such program is refused."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from tests.unit.hovernet.tissue import draw

from nucleate import errors
from nucleate.hovernet.inference import sliding_window
from nucleate.hovernet.inference.sliding_window import Tiling
from nucleate.hovernet.networks.hovernet import Architecture, build
from nucleate.hovernet.networks.onnx import OnnxNetwork, export_network, load_network
from nucleate.pathology.stains import standardised_input

SMALL = Architecture(width=0.0625, stem_stride=2, units=(1, 1, 1, 1), dense=(1, 1))
FORMS = [
    SMALL,
    dataclasses.replace(SMALL, classes=("a", "b", "c")),
    *(dataclasses.replace(SMALL, stem_stride=1, kernel=kernel, published=True) for kernel in (3, 5)),
]


def settled(arch, seed=0):
    """A network whose normalizations are not the identity."""
    net = build(arch, seed).eval()
    generator = torch.Generator().manual_seed(seed)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
    return net


@pytest.mark.parametrize("arch", FORMS)
def test_onnx_runtime_agrees_with_torch_at_every_batch_and_size(arch):
    net = settled(arch)
    program = load_network(export_network(net), net, threads=1)
    assert program.provider == "CPUExecutionProvider"
    for count, height, width in ((1, 96, 112), (2, 128, 96)):
        image = torch.rand(count, 4, height + arch.stem_crop, width + arch.stem_crop)
        found, expected = program.maps(image), net.maps(image)
        assert found.shape == expected.shape
        assert torch.allclose(found, expected, atol=1e-4)
        assert torch.allclose(found[:, 3:].sum(1), torch.ones(()) if arch.classes else torch.zeros(()), atol=1e-4)


def test_whole_images_come_out_alike():
    net = settled(SMALL)
    planes = standardised_input.planes(draw(150, 30, 1)[0])
    how = Tiling(tile=96, overlap=32, views=(0, 5))
    ours, theirs = (
        sliding_window.predict(each, planes, how) for each in (net, load_network(export_network(net), net, threads=1))
    )
    assert np.allclose(ours.nuclear, theirs.nuclear, atol=1e-4)
    assert np.allclose(ours.hv, theirs.hv, atol=1e-4)


def test_foreign_and_damaged_programs_are_refused():
    net = settled(SMALL)
    program = export_network(net)
    with pytest.raises(errors.InvalidModel, match="cannot be loaded"):
        OnnxNetwork(program[: len(program) // 2], SMALL)
    for other in (settled(SMALL, 1), settled(FORMS[1])):
        with pytest.raises(errors.InvalidModel, match="does not belong"):
            load_network(program, other, threads=1)

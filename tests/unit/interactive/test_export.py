from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import onnx
import onnxruntime
import pytest
import torch
from safetensors.torch import load, save

from nucleate import errors
from nucleate.interactive.networks.architectures import ARCHITECTURES
from nucleate.interactive.networks.encoder_runtime import INPUTS, OUTPUT, OnnxBackbone, TorchBackbone
from nucleate.interactive.networks.interactive_network import CHANNELS, InteractiveNetwork
from nucleate.interactive.networks.model_file import load_backbone, load_network
from nucleate.interactive.networks.onnx_export import export_encoder
from nucleate.learning.model_file import pack_weights
from nucleate.learning.onnx_program import OPSET

# Both sum the same products in float32, in another order: at most 6e-7 of the largest feature was measured. A wrong resize or
# padding gives more than 1e-2.
TOLERANCE = 1e-5


def fresh(name: str, seed: int = 0) -> InteractiveNetwork:
    """A network in inference mode whose normalizations are not the identity and whose clicks count."""
    torch.manual_seed(seed)
    network = InteractiveNetwork(ARCHITECTURES[name])
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.running_mean, 0, 0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    for fusion in (network.encoder.fuse_image, network.encoder.mix):
        torch.nn.init.normal_(fusion.layers[3].weight)
    return network.eval().requires_grad_(requires_grad=False)


def inputs(batch: int, height: int, width: int, seed: int = 1) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand((batch, channels, height, width), generator=generator) for channels in CHANNELS]


def furthest(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("name", ["tiny", "cpu", "w18s"])
def test_onnx_runtime_agrees_with_torch_at_every_batch_and_size(name):
    network = fresh(name)
    backbone, reference = OnnxBackbone(export_encoder(network.encoder), threads=1), TorchBackbone(network.encoder)
    assert backbone.provider == "CPUExecutionProvider"
    for batch in (1, 3):
        for height, width in ((64, 64), (96, 96), (128, 160), (256, 256)):
            given = inputs(batch, height, width)
            found, expected = backbone.encode(*given), reference.encode(*given)
            assert found.shape == (batch, network.config.features, height // 4, width // 4)
            assert furthest(found, expected) < TOLERANCE


def test_the_file_says_what_it_is():
    network = fresh("tiny")
    network.train()
    model = onnx.load_from_string(export_encoder(network.encoder))
    onnx.checker.check_model(model, full_check=True)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", OPSET)]
    assert tuple(node.name for node in model.graph.input) == INPUTS
    assert [node.name for node in model.graph.output] == [OUTPUT]
    sizes = [
        [axis.dim_param or axis.dim_value for axis in node.type.tensor_type.shape.dim]
        for node in (*model.graph.input, *model.graph.output)
    ]
    assert sizes == [
        *(["batch", channels, "height", "width"] for channels in CHANNELS),
        ["batch", network.config.features, "output_height", "output_width"],
    ]
    assert network.training  # exporting leaves the network as it is


def test_a_diverse_head_leaves_the_backbone_as_it_is():
    torch.manual_seed(0)
    plain = InteractiveNetwork(ARCHITECTURES["tiny"])
    torch.manual_seed(0)
    diverse = InteractiveNetwork(ARCHITECTURES["tiny"].with_masks(4))
    assert export_encoder(plain.encoder) == export_encoder(diverse.encoder)


def test_inputs_may_be_views_of_any_float_type_and_are_never_written():
    network = fresh("tiny")
    backbone, given = OnnxBackbone(export_encoder(network.encoder), threads=1), inputs(2, 64, 96)
    kept = [tensor.clone() for tensor in given]
    expected = backbone.encode(*given)
    assert all(torch.equal(a, b) for a, b in zip(given, kept, strict=True))
    strided = [tensor.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2) for tensor in given]
    assert torch.equal(backbone.encode(*strided), expected)
    assert torch.equal(backbone.encode(*(tensor.double() for tensor in given)), expected)
    assert torch.equal(backbone.encode(*(tensor[1:] for tensor in given)), backbone.encode(*given)[1:])


def test_calls_side_by_side_give_what_each_gives_alone():
    network = fresh("tiny")
    backbone = OnnxBackbone(export_encoder(network.encoder), threads=1)
    given = [inputs(1 + seed % 3, 64, 32 + 32 * (seed % 4), seed) for seed in range(24)]
    alone = [backbone.encode(*each) for each in given]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda each: backbone.encode(*each), given))
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))


def test_a_missing_or_silently_replaced_provider_is_an_error(monkeypatch):
    model = export_encoder(fresh("tiny").encoder)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(errors.Precondition, match="no CUDAExecutionProvider: install the `gpu` extra"):
        OnnxBackbone(model, "cuda")
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    real = onnxruntime.InferenceSession
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda *_, **__: real(model, providers=["CPUExecutionProvider"]))
    with pytest.raises(errors.Precondition, match="runs on CPUExecutionProvider: check the CUDA libraries"):
        OnnxBackbone(model, "cuda")


def renamed(model: bytes) -> bytes:
    proto = onnx.load_from_string(model)
    for node in proto.graph.node:
        node.output[:] = ["other" if name == OUTPUT else name for name in node.output]
    proto.graph.output[0].name = "other"
    return proto.SerializeToString()


def test_foreign_and_damaged_backbones_are_refused():
    network = fresh("tiny")
    model = export_encoder(network.encoder)
    with pytest.raises(errors.InvalidModel, match="cannot be loaded"):
        OnnxBackbone(model[: len(model) // 2])
    with pytest.raises(errors.InvalidModel, match="into features"):
        OnnxBackbone(renamed(model))
    for other in (fresh("tiny", 1), fresh("cpu")):
        with pytest.raises(errors.InvalidModel, match="does not belong to model"):
            load_backbone(other, model, threads=1)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize(
    "name", ["encoder.backbone.stem.0.0.weight", "encoder.backbone.stem.0.1.running_var", "head.classify.bias"]
)
def test_weights_that_are_not_finite_are_refused(name, value):
    network = fresh("tiny")
    tensors = load(pack_weights(network))
    tensors[name].view(-1)[0] = value
    with pytest.raises(errors.InvalidModel, match="not finite"):
        load_network(network.config, save(tensors))


def test_finite_weights_whose_answer_is_not_are_refused():
    network = fresh("tiny")
    tensors = load(pack_weights(network))
    tensors["encoder.backbone.stem.0.1.running_var"].fill_(-1.0)
    with pytest.raises(errors.InvalidModel, match="gives no finite answer"):
        load_network(network.config, save(tensors))


@pytest.mark.parametrize("other", [ARCHITECTURES["cpu"], ARCHITECTURES["w18s"], ARCHITECTURES["tiny"].with_masks(3)])
def test_weights_of_another_architecture_are_refused(other):
    with pytest.raises(errors.InvalidModel, match="does not fit the architecture"):
        load_network(other, pack_weights(fresh("tiny")))


def test_a_backbone_with_weights_that_are_not_finite_is_refused():
    network = fresh("tiny")
    broken = fresh("tiny")
    broken.encoder.backbone.stem[0][0].weight[0] = float("nan")
    with pytest.raises(errors.InvalidModel, match="does not belong"):
        load_backbone(network, export_encoder(broken.encoder), threads=1)


def test_nothing_is_reported_to_the_maker_of_onnx_runtime(tmp_path):
    model = tmp_path / "backbone.onnx"
    model.write_bytes(export_encoder(InteractiveNetwork(ARCHITECTURES["tiny"]).encoder.eval(), 64))
    code = "import sys, nucleate.interactive.networks.encoder_runtime as b; b.OnnxBackbone(open(sys.argv[1], 'rb').read())"
    (left := tmp_path / "left").mkdir()  # a session that reports leaves its number here, in .ses
    given = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    given |= {"TMPDIR": str(left), "HOME": str(left)}
    subprocess.run([sys.executable, "-c", code, str(model)], env=given, check=True, timeout=120)
    assert not list(left.rglob("*"))

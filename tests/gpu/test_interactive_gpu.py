from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from nucleate.interactive.clicks import Click
from nucleate.interactive.networks.architectures import ARCHITECTURES
from nucleate.interactive.networks.encoder_runtime import OnnxBackbone, TorchBackbone
from nucleate.interactive.networks.interactive_network import CHANNELS, InteractiveNetwork
from nucleate.interactive.networks.model_file import BACKBONE, load_backbone, pack
from nucleate.interactive.networks.onnx_export import export_encoder
from nucleate.interactive.prediction.predictor import Predictor
from nucleate.interactive.refinement import Method, RefinementOptions

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is visible to torch"),
    pytest.mark.skipif(
        "CUDAExecutionProvider" not in onnxruntime.get_available_providers(),
        reason="onnxruntime has no CUDAExecutionProvider: install the `gpu` extra",
    ),
]


@pytest.fixture(scope="module", params=["tiny", "w18s", "w18"])
def network(request) -> InteractiveNetwork:
    torch.manual_seed(0)
    return InteractiveNetwork(ARCHITECTURES[request.param]).eval().requires_grad_(requires_grad=False)


def inputs(batch: int, height: int, width: int, device: str = "cuda") -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.rand((batch, channels, height, width), generator=generator).to(device) for channels in CHANNELS]


@pytest.fixture(autouse=True)
def _no_tf32():
    """cuDNN's default lets torch round to 10 bits; the backbone does not, and neither may its reference."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


@pytest.mark.parametrize(("batch", "height", "width"), [(1, 64, 64), (3, 96, 96), (1, 128, 160), (32, 128, 128)])
def test_the_gpu_gives_what_torch_gives(network, batch, height, width):
    backbone = OnnxBackbone(export_encoder(network.encoder), "cuda")
    assert backbone.provider == "CUDAExecutionProvider"
    given = inputs(batch, height, width)
    found = backbone.encode(*given)
    expected = TorchBackbone(network.to("cuda").encoder, "cuda").encode(*given)
    assert found.device.type == "cuda"
    assert float((found - expected).abs().max() / expected.abs().max()) < 1e-3


def test_tensors_stay_on_the_gpu(network):
    backbone, given = OnnxBackbone(export_encoder(network.encoder), "cuda"), inputs(1, 128, 128)
    backbone.encode(*given)  # the first run places the weights
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as recorded:
        backbone.encode(*given)
        torch.cuda.synchronize()
    copies = [event.key for event in recorded.key_averages() if "DtoH" in event.key or "HtoD" in event.key]
    assert copies == []


def test_the_backbone_waits_for_what_torch_still_computes(network):
    backbone, given = OnnxBackbone(export_encoder(network.encoder), "cuda"), inputs(1, 128, 128)
    expected = backbone.encode(*given)
    late = torch.zeros_like(given[0])
    torch.cuda._sleep(200_000_000)  # the copy below is queued behind it
    late.copy_(given[0])
    torch.testing.assert_close(backbone.encode(late, *given[1:]), expected)


def test_a_model_loads_on_the_gpu_and_checks_itself(network):
    assert load_backbone(network, pack(network)[BACKBONE], "cuda").provider == "CUDAExecutionProvider"


def test_a_click_gives_the_same_probability_on_both_devices(network):
    image = np.random.default_rng(0).integers(0, 255, (120, 140, 3), np.uint8)
    model, found = pack(network)[BACKBONE], []
    for device in ("cpu", "cuda"):
        backbone = load_backbone(network, model, device)
        predictor = Predictor(network.to(device), backbone, 96, RefinementOptions(Method.NONE), device)
        predictor.set_image(image)
        found.append(predictor.predict([Click(60, 70, positive=True)]).probability[1])
    np.testing.assert_allclose(found[0], found[1], atol=1e-3)

from __future__ import annotations

import json

import pytest
import torch

from nucleate import errors
from nucleate.interactive.networks.architectures import ARCHITECTURES, Architecture
from nucleate.interactive.networks.hrnet import HRNet
from nucleate.interactive.networks.interactive_network import CHANNELS, InteractiveNetwork
from nucleate.interactive.networks.object_context import ObjectContextHead
from nucleate.interactive.training.profiles import PROFILES


def conv(inputs: int, outputs: int, kernel: int = 3) -> int:
    """Parameters of a convolution without bias and its batch normalization."""
    return inputs * outputs * kernel**2 + 2 * outputs


def hrnet_parameters(width: int, *, small: bool) -> int:
    """Counted from the layout of Wang et al. 2019: stem, bottleneck stage, three exchange stages."""
    blocks, modules = (2, (1, 3, 2)) if small else (4, (1, 4, 3))
    total = conv(3, 64) + conv(64, 64)
    for block in range(blocks):
        inputs = 64 if block == 0 else 256
        total += conv(inputs, 64, 1) + conv(64, 64) + conv(64, 256, 1) + (conv(64, 256, 1) if block == 0 else 0)
    total += conv(256, width) + conv(256, 2 * width)
    for stage, count in enumerate(modules):
        widths = [width * 2**level for level in range(stage + 2)]
        if stage:
            total += conv(widths[-2], widths[-1])
        for _ in range(count):
            total += sum(blocks * 2 * conv(w, w) for w in widths)
            total += sum(conv(low, high, 1) for i, high in enumerate(widths) for low in widths[i + 1 :])
            for target, low in enumerate(widths):
                total += sum(conv(w, low) + (target - s - 1) * conv(w, w) for s, w in enumerate(widths[:target]))
    return total


def parameters(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("name", "width", "small", "published", "published_head"),
    [("w18s", 18, True, 4.21, 0.35), ("w18", 18, False, 10.02, 0.46), ("w32", 32, False, 30.94, 1.64)],
)
def test_published_backbones_have_the_published_size(name, width, small, published, published_head):
    with torch.device("meta"):
        found = parameters(HRNet(ARCHITECTURES[name]))
    assert found == hrnet_parameters(width, small=small)
    assert round(found / 1e6, 2) == pytest.approx(published - published_head, abs=0.011)


@pytest.mark.parametrize(("name", "keys"), [("w18s", 48), ("w18", 64), ("w32", 128)])
def test_the_head_differs_from_the_published_one_by_known_parts(name, keys):
    architecture = ARCHITECTURES[name]
    image, inputs, pixels = architecture.image_features, architecture.features, 2 * architecture.context
    assert architecture.context == keys
    with torch.device("meta"):
        found = parameters(ObjectContextHead(inputs, keys))
    # Published, one class: rough map 15w -> 15w -> 1, pixel features 15w -> 2k, query and key in two layers, value, restore.
    published = (image**2 + 3 * image) + (image + 1) + (image * pixels * 9 + 3 * pixels) + (2 * pixels * keys + 2 * keys**2)
    published += 8 * keys + conv(pixels, keys, 1) + conv(keys, pixels, 1) + conv(2 * pixels, pixels, 1) + (pixels + 1)
    # Ours: two classes from a narrower rough map, the segmentation feature beside the image's, one layer for query and key.
    rough = conv(inputs, pixels, 1) + 2 * (pixels + 1) - (image**2 + 3 * image) - (image + 1)
    wider = 9 * pixels * architecture.segmentation - pixels
    shallower = -2 * (keys**2 + 2 * keys)
    linear = -2 * keys  # key and value are linear layers with a bias and no normalization
    assert found - published == rough + wider + shallower + linear
    reference = {"w18s": 0.35, "w18": 0.46, "w32": 1.64}[name]
    assert round(published / 1e6, 2) == reference


@pytest.mark.parametrize("name", ["tiny", "cpu", "w18s"])
def test_features_have_a_quarter_of_the_size_at_any_multiple_of_32(name):
    network = InteractiveNetwork(ARCHITECTURES[name]).eval()
    with torch.no_grad():
        features = network.encoder(torch.rand(2, CHANNELS[0], 32, 96), torch.rand(2, 2, 32, 96), torch.zeros(2, 1, 32, 96))
        logits, auxiliary = network.decode(features)
    assert features.shape == (2, ARCHITECTURES[name].features, 8, 24)
    assert logits.shape == (2, 1, 32, 96)
    assert auxiliary.shape == (2, 2, 8, 24)


def test_clicks_and_previous_mask_reach_the_image_features_and_the_segmentation_feature():
    torch.manual_seed(0)
    encoder = InteractiveNetwork(ARCHITECTURES["tiny"]).eval().encoder
    for fusion in (encoder.fuse_image, encoder.mix):  # fresh ones pass the colours on and nothing else
        torch.nn.init.normal_(fusion.layers[3].weight)
    inputs = [torch.rand(1, CHANNELS[0], 32, 32), torch.zeros(1, 2, 32, 32), torch.zeros(1, 1, 32, 32)]
    image = ARCHITECTURES["tiny"].image_features
    with torch.no_grad():
        plain = encoder(*inputs)
        for changed in (1, 2):
            other = encoder(*(x + 1 if i == changed else x for i, x in enumerate(inputs)))
            assert not torch.equal(other[:, :image], plain[:, :image])
            assert not torch.equal(other[:, image:], plain[:, image:])
        brighter = encoder(inputs[0] + 0.1, *inputs[1:])
    assert not torch.equal(brighter[:, :image], plain[:, :image])
    assert torch.equal(brighter[:, image:], plain[:, image:])  # of clicks and previous mask alone


def test_attention_over_two_classes_is_not_trivial():
    torch.manual_seed(0)
    head = ObjectContextHead(20, 8).eval()
    with torch.no_grad():
        features = torch.randn(1, 20, 6, 6)
        pixels = head.pixels(features)
        regions = head.region_representations(head.auxiliary(features), pixels)
        swapped = head.augmented_representations(pixels, regions.flip(1))
        other = head.augmented_representations(pixels, regions[:, [0, 0]])
        torch.testing.assert_close(head.augmented_representations(pixels, regions), swapped)
        assert not torch.allclose(head.augmented_representations(pixels, regions), other)


def test_architectures_survive_their_card_and_take_defaults_for_what_older_cards_lack():
    for architecture in ARCHITECTURES.values():
        values = json.loads(json.dumps(architecture.to_json()))
        assert Architecture.from_json(values) == architecture
        del values["masks"]
        assert Architecture.from_json(values) == architecture


@pytest.mark.parametrize(
    "change", [{"width": 0}, {"width": True}, {"width": "18"}, {"modules": [1, 2]}, {"masks": 0}, {"depth": 3}, {"modules": 4}]
)
def test_cards_with_impossible_sizes_are_refused(change):
    with pytest.raises(errors.InvalidModel, match="config"):
        Architecture.from_json(ARCHITECTURES["tiny"].to_json() | change)


def test_every_published_network_can_be_trained_by_name():
    assert {name: PROFILES[name].architecture for name in ("tiny", "cpu", "w18s", "w32")} == {
        name: ARCHITECTURES[name] for name in ("tiny", "cpu", "w18s", "w32")
    }
    assert PROFILES["full"].architecture == ARCHITECTURES["w18"]

"""Symmetries of the square move images and HV maps alike; tiling and turning give back what went in."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.unit.hovernet.tissue import draw

from nucleate import errors
from nucleate.hovernet.inference import sliding_window
from nucleate.hovernet.inference.sliding_window import Tiling
from nucleate.hovernet.networks.hovernet import Architecture, HoVerNet, Maps, build
from nucleate.hovernet.training import augmentation
from nucleate.hovernet.training.augmentation import TrainingWindow
from nucleate.hovernet.training.targets import hv_maps
from nucleate.pathology.stains import standardised_input

SMALL = Architecture(width=0.0625, stem_stride=2, units=(1, 1, 1, 1), dense=(1, 1))


PUBLISHED = [dataclasses.replace(SMALL, stem_stride=1, kernel=kernel, published=True) for kernel in (3, 5)]


class Echo(HoVerNet):
    """Says of every pixel what the input's first planes are, so that geometry can be checked exactly."""

    def forward(self, image_B4HW):
        assert image_B4HW.shape[1] == standardised_input.PLANES
        margin = self.arch.margin
        assert all((side - self.arch.stem_crop) % self.arch.multiple == 0 for side in image_B4HW.shape[2:])
        height, width = image_B4HW.shape[2:]
        red, green = image_B4HW[:, :2, margin : height - margin, margin : width - margin].unbind(1)
        return Maps(torch.stack([torch.zeros_like(red), red], 1), torch.stack([green, green], 1))


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(1, 4), st.integers(1, 4)), max_size=9),
    st.integers(0, 7),
)
def test_targets_of_a_moved_map_are_the_moved_targets(boxes, code):
    # Odd sides, whose centre is a pixel: an even side's centre rounds up before and after a mirroring.
    instances = np.zeros((41, 41), np.int32)
    for label, (row, column, high, wide) in enumerate(boxes, start=1):
        instances[row * 10 :, column * 10 :][: 2 * high + 1, : 2 * wide + 1] = label
    whole = all((instances == label).sum() == (2 * h + 1) * (2 * w + 1) for label, (_, _, h, w) in enumerate(boxes, start=1))
    assume(whole)
    weight = np.zeros((41, 41), np.float32)
    window = TrainingWindow(np.zeros((41, 41, 4), np.float32), instances.astype(np.uint8), hv_maps(instances), weight)
    moved = augmentation.apply_symmetry(window, code)
    assert np.allclose(hv_maps(moved.nuclei.astype(np.int32)), moved.hv, atol=1e-6)


@pytest.mark.parametrize("code", range(8))
def test_inference_turns_as_augmentation_does_and_back(code):
    maps = torch.randn(1, 3, 8, 8)
    window = TrainingWindow(np.zeros((8, 8, 4), np.float32), maps[0, 0].numpy(), maps[0, 1:].numpy(), maps[0, 0].numpy())
    moved = augmentation.apply_symmetry(window, code)
    turned = sliding_window._apply_symmetry(maps[:, :1], code)
    assert np.array_equal(turned[0, 0].numpy(), moved.nuclei)
    stacked = torch.from_numpy(np.concatenate([moved.nuclei[None], moved.hv])[None].copy())
    assert torch.equal(sliding_window._invert_symmetry(stacked, code), maps)


@pytest.mark.parametrize("arch", [SMALL, *PUBLISHED])
@pytest.mark.parametrize("size", [(32, 32), (97, 61), (150, 331)])
def test_tiles_blend_without_a_seam_at_any_size(size, arch):
    image, _ = draw(max(size), 40, 1)
    image = image[: size[0], : size[1]]
    planes = standardised_input.planes(image)
    seen = sliding_window.predict(Echo(arch), planes, Tiling(tile=64, overlap=16, views=(0, 3)))
    red = planes[..., 0] / 255.0
    assert np.allclose(seen.nuclear, 1 / (1 + np.exp(-red)), atol=1e-5)
    assert seen.hv.shape == (2, *size)


@pytest.mark.parametrize("arch", PUBLISHED)
def test_a_published_net_answers_for_the_middle_of_its_input(arch):
    side = 128 + arch.stem_crop
    net = build(arch, 0).eval()
    with torch.no_grad():
        maps = net(torch.rand(1, 4, side, side))
    assert maps.np.shape == maps.hv.shape == (1, 2, side - 2 * arch.margin, side - 2 * arch.margin)
    image, _ = draw(80, 8, 2)
    assert sliding_window.encode(net, standardised_input.planes(image)).shape[1:] == (10, 10)


def test_one_view_more_only_averages():
    image, _ = draw(80, 8, 2)
    net = build(SMALL, 0)
    planes = standardised_input.planes(image)
    one, other = (sliding_window.predict(net, planes, Tiling(views=(code,))) for code in (0, 5))
    both = sliding_window.predict(net, planes, Tiling(views=(0, 5)))
    assert np.allclose(both.hv, (one.hv + other.hv) / 2, atol=1e-5)


def test_too_small_an_image_and_a_broken_net_are_refused():
    net = build(SMALL, 0)
    with pytest.raises(errors.InvalidImage, match="31x64"):
        sliding_window.predict(net, np.zeros((64, 31, 4), np.uint8), Tiling())
    with torch.no_grad():
        net.np.head[-1].bias.fill_(float("nan"))
    with pytest.raises(errors.InvalidModel, match="not finite"):
        sliding_window.predict(net, standardised_input.planes(draw(64, 3, 0)[0]), Tiling())


@pytest.mark.parametrize("level", [0, 128, 255])
def test_flat_images_have_an_appearance(level):
    planes = standardised_input.planes(np.full((40, 50, 3), level, np.uint8))
    assert planes.shape == (40, 50, 4)
    assert planes.dtype == np.uint8
    assert not planes[..., 3].any()


def test_the_margin_says_what_is_nuclear_in_any_stain():
    image, instances = draw(128, 20, 4)
    pale = (255 - (255 - image.astype(float)) * 0.6).astype(np.uint8)
    for rgb in (image, pale):
        margin = standardised_input.planes(rgb)[..., 3] > 127
        assert (margin == (instances > 0)).mean() > 0.95

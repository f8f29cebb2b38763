"""The scales of SinGAN's pyramid."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from tests.unit.refiner.singan_models import TINY, tissue

from nucleate.errors import (
    InvalidImage,
)
from nucleate.refiner.singan import pyramid
from nucleate.refiner.singan.settings import PRESETS


def test_the_papers_pyramid_of_250_pixels_has_ten_scales_from_25_up():
    sizes = pyramid.sizes((250, 250), PRESETS["full"])
    assert sizes[0] == (25, 25)
    assert sizes[-1] == (250, 250)
    ratios = [small[0] / large[0] for small, large in pairwise(sizes)]
    assert len(sizes) == 10
    assert all(0.72 < ratio < 0.79 for ratio in ratios)


@pytest.mark.parametrize("size", [(16, 16), (17, 40), (40, 23), (39, 31)])
def test_the_coarsest_shorter_side_is_smallest_and_the_finest_is_the_image(size):
    sizes = pyramid.sizes(size, TINY)
    assert min(sizes[0]) == TINY.smallest
    assert sizes[-1] == size
    assert sizes == sorted(sizes)


def test_a_pyramid_is_made_of_area_means():
    rgb = tissue()
    levels = pyramid.build(rgb, TINY)
    assert [tuple(level.shape[2:]) for level in levels] == pyramid.sizes((40, 40), TINY)
    assert torch.equal(levels[-1][0], torch.from_numpy(rgb.transpose(2, 0, 1)).float() / 127.5 - 1)
    halves = pyramid.shrink(rgb, (20, 20))
    assert torch.allclose(halves, torch.nn.functional.avg_pool2d(levels[-1], 2), atol=1e-5)
    assert all(torch.equal(a, b) for a, b in zip(levels, pyramid.build(rgb, TINY), strict=True))


def test_images_that_cannot_be_trained_on_are_named():
    with pytest.raises(InvalidImage, match="at least 16"):
        pyramid.build(tissue()[:15], TINY)
    with pytest.raises(InvalidImage, match="8-bit RGB"):
        pyramid.build(tissue().astype(np.float32), TINY)


def test_a_larger_image_gives_its_middle_unshrunk():
    rgb = tissue(64)
    assert np.array_equal(pyramid.training_crop(rgb, TINY), rgb[12:52, 12:52])
    assert np.array_equal(pyramid.training_crop(rgb[:30], TINY), rgb[:30, 12:52])

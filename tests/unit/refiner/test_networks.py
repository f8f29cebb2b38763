"""Shapes, bounds and fields of view of R and D."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nucleate.refiner.inference import refine_image
from nucleate.refiner.networks import Discriminator, build_pair
from nucleate.refiner.profiles import PROFILES, profile_named


@pytest.fixture(scope="module")
def trained_like():
    """A refiner whose last layer is no longer zero."""
    refiner, discriminator = build_pair(8, 2, 0.3, 8, seed=1)
    with torch.no_grad():
        refiner.outlet.weight.normal_(0, 0.2, generator=torch.Generator().manual_seed(1))
    return refiner, discriminator


def test_an_untrained_refiner_is_the_identity():
    refiner, _ = build_pair(8, 1, 0.3, 8, seed=0)
    x = torch.rand(2, 3, 16, 12) * 2 - 1
    assert torch.equal(refiner(x), x)


def test_the_residual_is_bounded_and_the_output_stays_in_range(trained_like):
    x = torch.rand(2, 3, 32, 32) * 2 - 1
    refined = trained_like[0](x).detach()
    assert 0.01 < (refined - x).abs().max() <= 0.3 + 1e-6
    assert refined.abs().max() <= 1


def test_what_alternates_on_the_grid_of_the_refiner_is_not_shown():
    """A bias that differs by the place in the 2 x 2 grid comes out as one even colour."""
    refiner, _ = build_pair(8, 1, 0.3, 8, seed=0)
    with torch.no_grad():
        refiner.outlet.bias.copy_(torch.tensor([0.3, -0.1, 0.2, -0.3] * 3))
    change = (refiner(torch.zeros(1, 3, 16, 16)).detach())[..., 1:-1, 1:-1]
    assert change.abs().max() > 1e-3
    assert change.std(dim=(2, 3)).max() < 1e-6


def test_weights_depend_on_the_seed_only():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first, second, other = (build_pair(8, 1, 0.3, 8, seed=s)[1].state_dict() for s in (3, 3, 4))
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(first[k], second[k]) for k in first)
    assert not all(torch.equal(first[k], other[k]) for k in first)


def test_the_stated_receptive_field_is_the_real_one():
    discriminator = Discriminator(4).eval()
    assert 30 <= discriminator.receptive_field <= 70
    x = torch.rand(1, 3, 96, 96, requires_grad=True)
    z = discriminator(x)
    z[0, 0, z.shape[2] // 2, z.shape[3] // 2].backward()
    rows = x.grad.abs().sum(dim=(0, 1, 3)).nonzero()
    assert rows.max() - rows.min() + 1 == discriminator.receptive_field


def test_profiles_have_room_for_patches():
    for profile in PROFILES.values():
        assert profile.crop >= Discriminator(1).receptive_field
        assert profile.crop % 2 == 0
    assert profile_named("").name == "cpu"


@pytest.mark.parametrize("shape", [(32, 32), (33, 47), (70, 35)])
def test_tiles_do_not_show_and_any_size_works(trained_like, shape):
    rgb = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    whole = refine_image(trained_like[0], rgb)
    tiled = refine_image(trained_like[0], rgb, tile=16)
    assert whole.shape == rgb.shape
    assert not np.array_equal(whole, rgb)
    # float sums may differ in their last bit between tile sizes: one grey level at a rounding edge
    assert np.abs(whole.astype(int) - tiled).max() <= 1

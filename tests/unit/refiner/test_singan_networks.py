"""SinGAN's networks, their losses and settings."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests.unit.refiner.singan_models import equal

from nucleate.errors import (
    InvalidInput,
    UnknownProfile,
)
from nucleate.refiner.singan.losses import gradient_penalty
from nucleate.refiner.singan.networks import FIELD, MARGIN, build_scale
from nucleate.refiner.singan.settings import Settings, settings_named


def test_the_generator_is_size_independent():
    generator = build_scale(6, 1)[0].eval()
    random = torch.Generator().manual_seed(0)
    noise, previous = (torch.randn((1, 3, 37, 30), generator=random) for _ in range(2))
    whole = generator(noise, previous)
    part = generator(noise[..., 4:31, 3:29], previous[..., 4:31, 3:29])
    assert whole.shape == previous.shape
    inner = slice(MARGIN, -MARGIN)
    assert torch.allclose(part[..., inner, inner], whole[..., 4:31, 3:29][..., inner, inner], atol=1e-5)


def test_beyond_its_borders_an_image_goes_on_as_its_border_pixels():
    generator = build_scale(6, 1)[0].eval()
    half = torch.zeros((1, 3, 12, 30))
    half[..., 15:] = 1.0
    plain = generator(torch.zeros((1, 3, 12, 30)), torch.zeros((1, 3, 12, 30)))
    assert torch.allclose(generator(torch.zeros_like(half), half)[..., :10], plain[..., :10], atol=1e-6)


def test_one_score_sees_one_patch():
    _, discriminator = build_scale(4, 1)
    for i, layer in enumerate(discriminator.layers):
        if isinstance(layer, torch.nn.InstanceNorm2d):  # all that patches share
            discriminator.layers[i] = torch.nn.Identity()
    x = torch.randn((1, 3, FIELD + 2, FIELD + 2), generator=torch.Generator().manual_seed(0)).requires_grad_()
    scores = discriminator(x)
    assert scores.shape == (1, 1, 3, 3)
    scores[0, 0, 0, 0].backward()
    assert x.grad[0, :, FIELD:].abs().max() == 0
    assert x.grad[0, :, FIELD - 1].abs().max() > 0


def test_weights_depend_on_the_seed_and_leave_the_global_generator_alone():
    before = torch.random.get_rng_state()
    one, again, other = (build_scale(4, seed)[0].state_dict() for seed in (1, 1, 2))
    assert torch.equal(before, torch.random.get_rng_state())
    assert equal(one, again)
    assert not equal(one, other)


def test_the_gradient_penalty_of_a_linear_critic_is_its_closed_form():
    weights = torch.tensor([0.5, -2.0, 1.0], requires_grad=True)
    real, fake = torch.randn((2, 1, 3, 9, 8), generator=torch.Generator().manual_seed(0))
    penalty = gradient_penalty(lambda x: torch.einsum("bchw,c->bhw", x, weights), real, fake, torch.full((1, 1, 1, 1), 0.3))
    norm = 5.25**0.5
    assert penalty.item() == pytest.approx((norm - 1) ** 2, rel=1e-5)
    penalty.backward()
    expected = 2 * (norm - 1) / norm * weights.detach()
    assert torch.allclose(weights.grad, expected, rtol=1e-4)


def test_a_flat_critic_has_a_finite_gradient():
    weights = torch.zeros(3, requires_grad=True)
    x = torch.zeros((1, 3, 4, 4))
    gradient_penalty(lambda x: torch.einsum("bchw,c->bhw", x, weights), x, x, torch.zeros((1, 1, 1, 1))).backward()
    assert torch.isfinite(weights.grad).all()


def test_settings_are_checked_and_named():
    assert settings_named("full") == Settings()
    assert [Settings().channels_at(scale) for scale in (0, 3, 4, 8, 20)] == [32, 32, 64, 128, 128]
    with pytest.raises(UnknownProfile, match="tiny, full"):
        settings_named("huge")
    for wrong in ({"scale_factor": 1.0}, {"smallest": 10}, {"steps": 0}, {"rate": 0.0}, {"feather": -1}, {"largest": 20}):
        with pytest.raises(InvalidInput, match="SinGAN settings"):
            replace(Settings(), **wrong)

"""SinGAN's training: deterministic, resumable, and refused where it fails."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests.unit.refiner.singan_models import CPU, SHORT, TINY, equal, tissue

from nucleate.errors import (
    Aborted,
    InvalidModel,
)
from nucleate.refiner.singan import pyramid, training
from nucleate.refiner.singan.model import WEIGHTS, derived_seed, from_tensors, reconstruct, sample_image, to_tensors
from nucleate.refiner.singan.networks import build_scale
from nucleate.refiner.singan.training import train


def test_training_lowers_the_reconstruction_error_of_the_finest_scale(trained):
    model, losses = trained
    error = (reconstruct(model) - pyramid.build(tissue(), TINY)[-1]).square().mean().sqrt().item()
    at_first = losses[40][2]["reconstruction"] ** 0.5  # measured before the first update of the last scale
    assert error < 0.9 * at_first
    assert [step for step, _, _ in losses] == list(range(1, 61))
    assert {total for _, total, _ in losses} == {60}
    assert set(losses[0][2]) == {"critic", "penalty", "adversarial", "reconstruction"}


def test_the_generator_learns_from_the_critic_alone_too():
    settings = replace(SHORT, alpha=0.0, largest=16)
    model = train(tissue(16), settings, 5)
    (moved,) = (generator.state_dict() for generator in model.generators)
    fresh = build_scale(settings.channels, derived_seed(5, WEIGHTS, 0))[0].state_dict()
    assert not any(torch.equal(moved[name], fresh[name]) for name in fresh if fresh[name].ndim == 4)


def test_noise_per_scale_follows_the_reconstruction_error(trained):
    model, _ = trained
    reals = pyramid.build(tissue(), TINY)
    part = from_tensors(
        {k: v for k, v in to_tensors(model).items() if k != "sigmas"} | {"sigmas": torch.tensor([1.0])}, TINY, CPU
    )
    error = (pyramid.enlarge(reconstruct(part), model.sizes[1]) - reals[1]).square().mean().sqrt().item()
    assert model.sigmas[0] == 1.0
    assert model.sigmas[1] == pytest.approx(TINY.noise_amplitude * error, rel=1e-6)


def test_a_stopped_training_goes_on_at_the_next_scale_to_the_same_bytes():
    before = torch.random.get_rng_state()
    whole = to_tensors(train(tissue(), SHORT, 5))
    assert torch.equal(before, torch.random.get_rng_state())
    kept = []

    def stop(step, total, losses):
        if step == 8:  # in the last of three scales
            raise InterruptedError

    with pytest.raises(InterruptedError):
        train(tissue(), SHORT, 5, on_step=stop, on_scale=lambda model: kept.append(to_tensors(model)))
    assert len(kept) == 2
    steps = []
    resumed = train(
        tissue(), SHORT, 5, model=from_tensors(kept[-1], SHORT, CPU), on_step=lambda step, total, losses: steps.append(step)
    )
    assert steps == [7, 8, 9]
    assert equal(to_tensors(resumed), whole)
    assert not equal(to_tensors(train(tissue(), replace(SHORT, steps=1), 6)), whole)


def test_a_model_of_another_training_is_refused(trained):
    model, _ = trained
    with pytest.raises(InvalidModel, match="another image size, settings or seed"):
        train(tissue(), TINY, 8, model=model)
    with pytest.raises(InvalidModel, match="other settings"):
        from_tensors(to_tensors(model), replace(TINY, channels=4), CPU)
    with pytest.raises(InvalidModel, match="another pyramid"):
        from_tensors(to_tensors(model), replace(TINY, smallest=20), CPU)
    tensors = to_tensors(model)
    del tensors["discriminator.layers.0.weight"]
    with pytest.raises(InvalidModel, match="damaged"):
        from_tensors(tensors, TINY, CPU)
    tensors = to_tensors(model)
    tensors["generator.0.layers.0.bias"][0] = float("nan")
    with pytest.raises(InvalidModel, match="not finite"):
        from_tensors(tensors, TINY, CPU)


def test_a_training_that_diverges_says_where():
    with pytest.raises(Aborted, match=r"diverged at step \d+ of 9 \(scale \d of 3\).*lower rate"):
        train(tissue(), replace(SHORT, rate=1e30), 5)


def test_a_scale_that_saturates_is_not_passed_on():
    kept = []

    def saturate(step, total, losses):
        if step == 6:
            for layer in caught:
                layer.bias.fill_(20.0)

    caught = []
    original = training.build_scale

    def build(channels, seed):
        generator, discriminator = original(channels, seed)
        caught[:] = [generator.requires_grad_(requires_grad=True).layers[-1]]
        caught[0].bias.requires_grad_(requires_grad=False)
        return generator, discriminator

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "build_scale", build)
        with pytest.raises(Aborted, match="collapsed at scale 2 of 3"):
            train(tissue(), SHORT, 5, on_step=saturate, on_scale=kept.append)
    assert len(kept) == 1


def test_draws_differ_by_their_generator_only(trained):
    model, _ = trained
    one, again, other = (sample_image(model, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert one.shape == (1, 3, 40, 40)
    assert torch.equal(one, again)
    assert not torch.equal(one, other)

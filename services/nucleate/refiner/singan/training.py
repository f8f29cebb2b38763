"""Training coarse to fine on one image: every scale is finished and frozen before the next begins."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nucleate.errors import Aborted, InvalidModel
from nucleate.refiner.singan import losses, pyramid
from nucleate.refiner.singan.model import DRAWS, WEIGHTS, Model, derived_seed, new_model, noise, reconstruct, sample_image
from nucleate.refiner.singan.networks import Discriminator, Generator, build_scale
from nucleate.refiner.singan.settings import Settings

BETAS = (0.5, 0.999)
RATE_DECAY_AFTER = 0.8  # of a scale's steps
RATE_DECAY = 0.1  # of the rate
MAX_RMSE_INCREASE = 0.2  # RMSE on [-1, 1], 25 grey levels: how much worse than the scale below a finished scale may be

Losses = Mapping[str, float]


@dataclass
class _Scale:
    """The scale being trained: its image 13HW, what z* gives so far (up-sampled), its noise, networks and optimizers."""

    index: int
    real: Tensor
    previous: Tensor
    z_star: Tensor
    sigma: float
    generator: Generator
    discriminator: Discriminator
    generator_adam: torch.optim.Adam
    discriminator_adam: torch.optim.Adam


def train(
    rgb_HW3: NDArray[np.uint8],
    settings: Settings,
    seed: int,
    *,
    on_step: Callable[[int, int, Losses], None] = lambda _step, _total, _losses: None,
    on_scale: Callable[[Model], None] = lambda _model: None,
    model: Model | None = None,
    device: torch.device | None = None,
) -> Model:
    """Fits a pyramid of generators to one image; step t of a scale depends on the scales below and (seed, scale, t) only.

    Args:
        rgb_HW3: uint8 RGB image; of a larger one than `settings.largest`, the middle is taken (`pyramid.training_crop`).
        settings: sizes, rates and weights.
        seed: >= 0, of weights and noise.
        on_step: called with the steps done over all scales, their total, and the last losses; may raise to stop.
        on_scale: called after every scale with the model so far; what `model.to_tensors` takes of it is a checkpoint.
        model: of the same image, settings and seed, to go on from at its first scale that is not trained; it is changed.
        device: where to train; the CPU by default, or where `model` is.

    Raises:
        InvalidImage: not uint8 HW3, or a side is below `settings.smallest`.
        InvalidModel: `model` is of another training.
        Aborted: a loss is not finite, or a scale gives back the image much worse than the scale below it.

    Source: sections 2.2 and 2.3 of the paper.
    """
    reals = pyramid.build(pyramid.training_crop(rgb_HW3, settings), settings)
    if model is None:
        size = (reals[-1].shape[2], reals[-1].shape[3])
        model = new_model(size, settings, seed, device or torch.device("cpu"))
    elif (model.settings, model.seed, list(model.sizes)) != (settings, seed, [(x.shape[2], x.shape[3]) for x in reals]):
        raise InvalidModel("the SinGAN model to go on from has another image size, settings or seed than this training")
    total = settings.steps * len(reals)
    while model.trained_scales < len(reals):
        scale = _start_scale(model, reals[model.trained_scales].to(model.device))
        for step in range(settings.steps):
            found = _step(model, scale, step)
            steps_done = scale.index * settings.steps + step + 1
            if not all(math.isfinite(value) for value in found.values()):
                raise Aborted(
                    f"SinGAN training diverged at step {steps_done} of {total} (scale {scale.index + 1} of {len(reals)}): "
                    "a loss is not finite; try another seed or a lower rate"
                )
            on_step(steps_done, total, found)
        _freeze_scale(model, scale)
        if not _converged(model, scale):
            raise Aborted(
                f"SinGAN training collapsed at scale {scale.index + 1} of {len(reals)}: it does not give back its image; "
                "try another seed or a lower rate"
            )
        on_scale(model)
    return model


def _start_scale(model: Model, real_13HW: Tensor) -> _Scale:
    index, settings = model.trained_scales, model.settings
    channels = settings.channels_at(index)
    generator, discriminator = build_scale(channels, derived_seed(model.seed, WEIGHTS, index))
    if model.discriminator is not None and channels == settings.channels_at(index - 1):
        # Patches of 11 pixels look much alike on neighbouring scales: the paper, too, goes on from the last scale's weights.
        discriminator.load_state_dict(model.discriminator.state_dict())
        # Not so the coarsest generator: it draws the image out of noise, and would draw it a second time on top.
        if index > 1:
            generator.load_state_dict(model.generators[-1].state_dict())
    generator.to(model.device)
    discriminator.to(model.device)
    below_13hw = reconstruct(model)
    if below_13hw is None:
        previous_13HW, z_star_13HW, sigma = torch.zeros_like(real_13HW), model.z_star(), 1.0
    else:
        previous_13HW = pyramid.enlarge(below_13hw, model.sizes[index])
        z_star_13HW = torch.zeros_like(real_13HW)
        # As much noise as there is detail left to draw.
        sigma = settings.noise_amplitude * math.sqrt(float((previous_13HW - real_13HW).square().mean()))
    adams = [torch.optim.Adam(network.parameters(), settings.rate, betas=BETAS) for network in (generator, discriminator)]
    return _Scale(index, real_13HW, previous_13HW, sigma * z_star_13HW, sigma, generator, discriminator, adams[0], adams[1])


@torch.no_grad()
def _freeze_scale(model: Model, scale: _Scale) -> None:
    scale.generator(scale.z_star, scale.previous)  # the pass whose statistics it keeps
    scale.generator.eval()
    model.generators.append(scale.generator.requires_grad_(requires_grad=False))
    model.sigmas.append(scale.sigma)
    model.discriminator = scale.discriminator


def _converged(model: Model, scale: _Scale) -> bool:
    """False where the generator saturated: all losses are finite then, but nothing is learned from there on."""
    x_13HW = reconstruct(model)
    if x_13HW is None or scale.index == 0:
        return True
    error, below = (math.sqrt(float((x - scale.real).square().mean())) for x in (x_13HW, scale.previous))
    return error <= below + MAX_RMSE_INCREASE


def _step(model: Model, scale: _Scale, step: int) -> Losses:
    """The discriminator's updates on fresh draws of the scales below, then the generator's on the last of them."""
    settings = model.settings
    random = torch.Generator(model.device).manual_seed(derived_seed(model.seed, DRAWS, scale.index, step))
    rate = settings.rate * (RATE_DECAY if step >= RATE_DECAY_AFTER * settings.steps else 1.0)
    for adam in (scale.generator_adam, scale.discriminator_adam):
        adam.param_groups[0]["lr"] = rate
    found: dict[str, float] = {}
    for _ in range(settings.discriminator_steps):
        below_13hw = sample_image(model, random)
        size = model.sizes[scale.index]
        previous_13HW = torch.zeros_like(scale.real) if below_13hw is None else pyramid.enlarge(below_13hw, size)
        z_13HW = scale.sigma * noise(scale.index, size, random)
        found |= _update_discriminator(scale, previous_13HW, z_13HW, settings.penalty, random)
    scale.discriminator.requires_grad_(requires_grad=False)
    for _ in range(settings.generator_steps):
        found |= _update_generator(scale, previous_13HW, z_13HW, settings.alpha)
    scale.discriminator.requires_grad_(requires_grad=True)
    return found


def _update_discriminator(
    scale: _Scale, previous_13HW: Tensor, z_13HW: Tensor, weight: float, random: torch.Generator
) -> dict[str, float]:
    with torch.no_grad():
        fake_13HW = scale.generator(z_13HW, previous_13HW)
    mix_1111 = torch.rand((1, 1, 1, 1), generator=random, device=random.device)
    critic = losses.critic_loss(scale.discriminator(scale.real), scale.discriminator(fake_13HW))
    penalty = losses.gradient_penalty(scale.discriminator, scale.real, fake_13HW, mix_1111)
    scale.discriminator_adam.zero_grad()
    (critic + weight * penalty).backward()  # type: ignore[no-untyped-call]
    scale.discriminator_adam.step()
    return {"critic": float(critic.detach()), "penalty": float(penalty.detach())}


def _update_generator(scale: _Scale, previous_13HW: Tensor, z_13HW: Tensor, alpha: float) -> dict[str, float]:
    adversarial = losses.adversarial_loss(scale.discriminator(scale.generator(z_13HW, previous_13HW)))
    reconstruction = losses.reconstruction_loss(scale.generator(scale.z_star, scale.previous), scale.real)
    scale.generator_adam.zero_grad()
    (adversarial + alpha * reconstruction).backward()  # type: ignore[no-untyped-call]
    scale.generator_adam.step()
    return {"adversarial": float(adversarial.detach()), "reconstruction": float(reconstruction.detach())}

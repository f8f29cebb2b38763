"""Alternate training of R and D on the losses of report section 3.2.1."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import torch

from nucleate.errors import Aborted
from nucleate.learning import averaging
from nucleate.refiner.networks import TaskNetwork
from nucleate.refiner.pixels import to_bytes, to_signed
from nucleate.refiner.profiles import Profile
from nucleate.refiner.training.crops import Batch, TrainingImages, draw_batch, split_held_out
from nucleate.refiner.training.discriminator_input import jitter_and_compress
from nucleate.refiner.training.importance_weights import calibrate, mean_logits
from nucleate.refiner.training.losses import (
    accuracy,
    adversarial_loss,
    discriminator_loss,
    edge_regularization,
    gradient_penalty,
    self_regularization,
    task_loss,
)
from nucleate.refiner.training.state import TrainingState

GRADIENT_NORM = 1.0
EVALUATION_BATCHES = 8
Losses = Mapping[str, float]


def train(
    images: TrainingImages,
    profile: Profile,
    state: TrainingState,
    seed: int,
    *,
    on_step: Callable[[int, Losses], None],
    on_checkpoint: Callable[[bytes], None],
) -> dict[str, float]:
    """Trains `state` in place up to `profile.steps` and measures it; step t depends on `state` and (seed, t) only.

    Args:
        images: synthetic pairs and real images.
        profile: sizes, rates and weights of the losses.
        state: fresh, warm-started or restored.
        seed: of crops, their augmentation and history.
        on_step: called with the steps done and the losses of the last one; may raise to stop.
        on_checkpoint: called with bytes for `TrainingState.restore` every `profile.checkpoint_every` steps.

    Returns:
        What `evaluate` measures on images held out for the purpose.

    Raises:
        Aborted: a loss is not finite.
    """
    training_images, calibration_images = split_held_out(images)
    while state.step < profile.steps:
        losses = train_step(training_images, profile, state, seed)
        if not all(math.isfinite(value) for value in losses.values()):
            raise Aborted(f"refiner training diverged at step {state.step}: a loss is not finite; try another seed")
        on_step(state.step, losses)
        if state.step % profile.checkpoint_every == 0 and state.step < profile.steps:
            on_checkpoint(state.to_bytes())
    return evaluate(calibration_images, profile, state, seed)


def train_step(images: TrainingImages, profile: Profile, state: TrainingState, seed: int) -> Losses:
    """One update of D on half fresh, half remembered crops, then one of R (none during D's warm-up)."""
    rng = np.random.default_rng([seed, state.step])
    batch = draw_batch(images, profile.batch, profile.crop, rng)
    x_B3HW, y_B3HW = batch.x.to(state.device), batch.y.to(state.device)
    refined_B3HW = state.refiner(x_B3HW)

    seen = np.ascontiguousarray(state.history.exchange(to_bytes(refined_B3HW), rng).transpose(0, 2, 3, 1))
    fake_B3HW = jitter_and_compress(to_signed(seen).to(state.device), profile.jpeg_quality, profile.colour_jitter, rng)
    z_fake = state.discriminator(fake_B3HW)
    real_B3HW = jitter_and_compress(y_B3HW, profile.jpeg_quality, profile.colour_jitter, rng).requires_grad_(bool(profile.r1))
    z_real = state.discriminator(real_B3HW)
    loss_d = discriminator_loss(z_fake, z_real)
    if profile.r1:
        loss_d = loss_d + 0.5 * profile.r1 * gradient_penalty(z_real, real_B3HW)
    state.discriminator_optimizer.zero_grad()
    loss_d.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(state.discriminator.parameters(), GRADIENT_NORM)
    state.discriminator_optimizer.step()

    losses = {"loss_d": float(loss_d.detach()), "accuracy_d": accuracy(z_fake, z_real)}
    if state.step >= profile.warmup_steps:
        losses |= _update_refiner(refined_B3HW, batch, profile, state, rng)
    state.step += 1
    return losses


def _update_refiner(
    refined_B3HW: torch.Tensor, batch: Batch, profile: Profile, state: TrainingState, rng: np.random.Generator
) -> Losses:
    x_B3HW = batch.x.to(state.device)
    state.discriminator.requires_grad_(requires_grad=False)
    z_fake = state.discriminator(jitter_and_compress(refined_B3HW, profile.jpeg_quality, profile.colour_jitter, rng))
    realism = adversarial_loss(z_fake)
    change = self_regularization(refined_B3HW, x_B3HW, profile.psi)
    edge = edge_regularization(refined_B3HW, x_B3HW, batch.band.to(state.device))
    loss_r = realism + profile.lambda_l1 * change + profile.lambda_edge * edge
    losses = {"realism": float(realism.detach()), "change": float(change.detach())}
    if state.task is not None:
        task = _task_loss(refined_B3HW, batch.mask.to(state.device), state.task, state.task_optimizer)
        loss_r = loss_r - profile.lambda_hard * task
        losses["task"] = float(task.detach())
    state.refiner_optimizer.zero_grad()
    loss_r.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(state.refiner.parameters(), GRADIENT_NORM)
    state.refiner_optimizer.step()
    state.discriminator.requires_grad_(requires_grad=True)
    averaging.update_average(state.average, state.refiner, profile.ema_decay)
    return {"loss_r": float(loss_r.detach()), **losses}


def _task_loss(
    refined_B3HW: torch.Tensor, mask_B1HW: torch.Tensor, task: TaskNetwork, optimizer: torch.optim.Optimizer
) -> torch.Tensor:
    """The segmenter's loss on refined crops after it has learned from them; only the images get its gradient."""
    task.requires_grad_(requires_grad=True)
    optimizer.zero_grad()
    task_loss(task(refined_B3HW.detach()), mask_B1HW).backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    task.requires_grad_(requires_grad=False)
    return task_loss(task(refined_B3HW), mask_B1HW)


@torch.no_grad()
def evaluate(images: TrainingImages, profile: Profile, state: TrainingState, seed: int) -> dict[str, float]:
    """D's accuracy before and after the averaged R, R's mean absolute change in grey levels (0..255), and D's calibration.

    D is the last one trained, so these say how far R got against its own opponent, not how real the images look. The
    calibration is `importance_weights.calibrate`'s on the mean logits of refined and of real crops.
    """
    rows, fake, real = [], [], []
    state.discriminator.eval()
    for index in range(EVALUATION_BATCHES):
        rng = np.random.default_rng([seed, profile.steps + index])
        batch = draw_batch(images, profile.batch, profile.crop, rng)
        x_B3HW = batch.x.to(state.device)
        refined_B3HW = state.average(x_B3HW)
        z_real, z_refined = state.discriminator(batch.y.to(state.device)), state.discriminator(refined_B3HW)
        fake.append(mean_logits(z_refined))
        real.append(mean_logits(z_real))
        rows.append(
            (
                accuracy(state.discriminator(x_B3HW), z_real),
                accuracy(z_refined, z_real),
                127.5 * float(self_regularization(refined_B3HW, x_B3HW)),
            )
        )
    state.discriminator.train()
    unrefined, refined, change = np.mean(rows, axis=0)
    measured = {
        "accuracy_d_unrefined": float(unrefined),
        "accuracy_d_refined": float(refined),
        "mean_change_levels": float(change),
    }
    return measured | calibrate(np.concatenate(fake), np.concatenate(real)).to_metrics()

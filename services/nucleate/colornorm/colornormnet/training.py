"""Self-supervised training of ColorNormNet on patches of one target image (report section 6.2).

    I_s = I_t + ε,   ε_R, ε_B ~ Unif(-.2, .2),   ε_G = 0;     L = |Î_t - I_t|_1 + λ |Î_t - I_t|_2^2,   Î_t = I_s + f(I_s)

Offsets act on tissue only (they are multiplied by the tissue weight): glass stays white in every stain. In mode `density` the
source is the target under a drawn scale and shift of its densities, and f undoes both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from nucleate.colornorm.colornormnet.colour_change import apply_to_thumbnails
from nucleate.colornorm.colornormnet.network import ColorNormNet
from nucleate.colornorm.colornormnet.training_state import TrainingState
from nucleate.colornorm.profiles import Profile
from nucleate.errors import Aborted

EVALUATED = 256  # changes drawn to measure the trained network


def colour_loss(found_B3hw: Tensor, target_B3hw: Tensor, weight_B1hw: Tensor, weight_l2: float) -> Tensor:
    """L of Î_t - I_t, means over channels and tissue.

    Args:
        found_B3hw: Î_t.
        target_B3hw: I_t.
        weight_B1hw: tissue weights.
        weight_l2: λ.
    """
    error = found_B3hw - target_B3hw
    each = error.abs() + weight_l2 * error.square()
    return (each * weight_B1hw).mean(1).sum() / weight_B1hw.sum().clamp_min(1e-6)


def train(
    patches: tuple[Tensor, Tensor],
    profile: Profile,
    state: TrainingState,
    seed: int,
    *,
    on_step: Callable[[int, Mapping[str, float]], None],
    on_checkpoint: Callable[[bytes], None],
) -> dict[str, float]:
    """Trains `state` in place up to `profile.steps` and measures it; step t depends on `state` and (seed, t) only.

    Args:
        patches: D_target, see `target_patches`.
        profile: sizes and rates.
        state: fresh or restored.
        seed: of the changes and of which patches a step sees.
        on_step: called with the steps done and the loss; may raise to stop.
        on_checkpoint: called with bytes for `TrainingState.restore`.

    Returns:
        colour_mae and identity_mae on [0, 1], see `evaluate`.

    Raises:
        Aborted: the loss is not finite.
    """
    while state.step < profile.steps:
        loss = _train_step(patches, profile, state, np.random.default_rng([seed, state.step]))
        if not math.isfinite(loss):
            raise Aborted(f"ColorNormNet training diverged at step {state.step}: the loss is not finite; try another seed")
        on_step(state.step, {"loss": loss})
        if state.step % profile.checkpoint_every == 0 and state.step < profile.steps:
            on_checkpoint(state.to_bytes())
    return evaluate(patches, state.network, np.random.default_rng([seed, profile.steps]))


def _train_step(patches: tuple[Tensor, Tensor], profile: Profile, state: TrainingState, rng: np.random.Generator) -> float:
    for group in state.optimizer.param_groups:
        group["lr"] = profile.rate * 0.5 * (1 + math.cos(math.pi * state.step / profile.steps))
    source_B3hw, target_B3hw, weight_B1hw = _perturbed(patches, profile.batch, state.network, rng)
    found_B3hw = apply_to_thumbnails(
        source_B3hw, weight_B1hw, state.network(source_B3hw, weight_B1hw), state.network.shape.mode
    )
    loss = colour_loss(found_B3hw, target_B3hw, weight_B1hw, profile.weight_l2)
    state.optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    state.optimizer.step()
    state.step += 1
    return float(loss.detach())


@torch.no_grad()
def evaluate(patches: tuple[Tensor, Tensor], network: ColorNormNet, rng: np.random.Generator) -> dict[str, float]:
    """Mean absolute colour error over tissue: of changed targets, and of the target itself, which must stay as it is."""
    mode = network.shape.mode
    source, target, weight = _perturbed(patches, EVALUATED, network, rng)
    drawn = colour_loss(apply_to_thumbnails(source, weight, network(source, weight), mode), target, weight, 0.0)
    rgb, own = (part.to(network.free.device) for part in patches)
    identity = colour_loss(apply_to_thumbnails(rgb, own, network(rgb, own), mode), rgb, own, 0.0)
    return {"colour_mae": float(drawn), "identity_mae": float(identity)}


def _perturbed(
    patches: tuple[Tensor, Tensor], batch: int, network: ColorNormNet, rng: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Thumbnails I_s B3hw (clipped, as any stored image is), I_t B3hw and the tissue weights B1hw."""
    chosen = torch.from_numpy(rng.integers(len(patches[0]), size=batch))
    device = network.free.device
    target_B3hw, weight_B1hw = patches[0][chosen].to(device), patches[1][chosen].to(device)
    limits = np.array(network.shape.limits)
    drawn = rng.uniform(-limits, limits, (batch, len(limits))).astype(np.float32)
    changes_BK11 = torch.from_numpy(drawn)[..., None, None].to(device)
    source_B3hw = apply_to_thumbnails(target_B3hw, weight_B1hw, changes_BK11, network.shape.mode).clamp(0, 1)
    return source_B3hw, target_B3hw, weight_B1hw

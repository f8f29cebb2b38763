"""Self-supervised training of ColorNormNet on patches of one target image (report section 6.2).

    I_s = I_t + ε,   ε_R, ε_B ~ Unif(-.2, .2),   ε_G = 0;     L = |Î_t - I_t|_1 + λ |Î_t - I_t|_2^2,   Î_t = I_s + f(I_s)

Offsets act on tissue only (they are multiplied by the tissue weight): glass stays white in every stain.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from nucleate.colornorm.network import ColorNormNet
from nucleate.colornorm.profiles import Profile
from nucleate.colornorm.state import TrainingState
from nucleate.errors import Aborted

JUDGED = 256  # offsets drawn to measure the trained network


def colour_loss(predicted_B3: Tensor, wanted_B3: Tensor, weight_B1hw: Tensor, weight_l2: float) -> Tensor:
    """L of Î_t - I_t = w (f + ε), which is the same in every tissue pixel; means over channels and tissue.

    Args:
        predicted_B3: f(I_s).
        wanted_B3: -ε.
        weight_B1hw: tissue weights w.
        weight_l2: λ.
    """
    error_B3 = predicted_B3 - wanted_B3
    tissue = weight_B1hw.mean(dim=(1, 2, 3)) / weight_B1hw.mean().clamp_min(1e-6)
    squared = (weight_B1hw**2).mean(dim=(1, 2, 3)) / (weight_B1hw**2).mean().clamp_min(1e-6)
    return (tissue * error_B3.abs().mean(dim=1)).mean() + weight_l2 * (squared * (error_B3**2).mean(dim=1)).mean()


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
        seed: of the offsets and of which patches a step sees.
        on_step: called with the steps done and the loss; may raise to stop.
        on_checkpoint: called with bytes for `TrainingState.restore`.

    Returns:
        offset_mae and identity_mae on [0, 1], see `judge`.

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
    return judge(patches, profile, state.network, np.random.default_rng([seed, profile.steps]))


def _train_step(patches: tuple[Tensor, Tensor], profile: Profile, state: TrainingState, rng: np.random.Generator) -> float:
    for group in state.optimizer.param_groups:
        group["lr"] = profile.rate * 0.5 * (1 + math.cos(math.pi * state.step / profile.steps))
    source_B3hw, weight_B1hw, offset_B3 = _perturbed(patches, profile.batch, profile.offset, state.network, rng)
    predicted_B3 = state.network(source_B3hw, weight_B1hw)
    loss = colour_loss(predicted_B3, -offset_B3, weight_B1hw, profile.weight_l2)
    state.optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    state.optimizer.step()
    state.step += 1
    return float(loss.detach())


@torch.no_grad()
def judge(
    patches: tuple[Tensor, Tensor], profile: Profile, network: ColorNormNet, rng: np.random.Generator
) -> dict[str, float]:
    """Mean absolute error of the free offsets: of drawn ones, and of zero (the target itself must stay as it is)."""
    source_B3hw, weight_B1hw, offset_B3 = _perturbed(patches, JUDGED, profile.offset, network, rng)
    free = network.free.bool()
    drawn = (network(source_B3hw, weight_B1hw) + offset_B3)[:, free].abs().mean()
    identity = network(*(part.to(network.free.device) for part in patches))[:, free].abs().mean()
    return {"offset_mae": float(drawn), "identity_mae": float(identity)}


def _perturbed(
    patches: tuple[Tensor, Tensor], batch: int, reach: float, network: ColorNormNet, rng: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Thumbnails I_s B3hw (clipped, as any stored image is), their weights B1hw and ε B3."""
    chosen = torch.from_numpy(rng.integers(len(patches[0]), size=batch))
    device = network.free.device
    rgb_B3hw, weight_B1hw = patches[0][chosen].to(device), patches[1][chosen].to(device)
    offset_B3 = torch.from_numpy(rng.uniform(-reach, reach, (batch, 3)).astype(np.float32)).to(device) * network.free
    return (rgb_B3hw + weight_B1hw * offset_B3[..., None, None]).clamp(0, 1), weight_B1hw, offset_B3

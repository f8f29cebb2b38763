"""Sizes of the refiner and of its training, by name."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from nucleate.errors import InvalidInput
from nucleate.profiles import SIZES, Profiles, side_by_side

Psi = Literal["identity", "gradient"]


@dataclass(frozen=True)
class Profile:
    """Everything that decides a training besides its images and its seed.

    Lengths are pixels, images are on [-1, 1], λ are per-pixel means (not sums: they do not grow with the crop). `psi` is the
    feature transform of the self-regularization, `lambda_hard` the weight of the task-aware loss, `r1` that of the gradient
    penalty on real crops; see `losses`.
    """

    name: str
    channels: int
    blocks: int
    discriminator_channels: int
    crop: int
    batch: int
    steps: int
    warmup_steps: int
    history: int
    refiner_rate: float
    discriminator_rate: float
    lambda_l1: float
    lambda_edge: float
    ema_decay: float
    checkpoint_every: int
    bound: float = 0.3
    jpeg_quality: tuple[int, int] = (70, 96)
    colour_jitter: float = 0.04
    psi: Psi = "identity"
    lambda_hard: float = 0.0
    r1: float = 0.0

    def departing(self, psi: Psi, hard: float, r1: float) -> Profile:
        """The same with other terms in the objective; raises InvalidInput for a weight that is negative or not finite."""
        for name, value in (("hard", hard), ("r1", r1)):
            if not math.isfinite(value) or value < 0:
                raise InvalidInput(f"refiner option {name} is {value}: give a weight from 0 up")
        return replace(self, psi=psi, lambda_hard=hard, r1=r1)


PROFILES = Profiles(
    side_by_side(
        Profile,
        name=SIZES,
        channels=(8, 32, 64),
        blocks=(1, 3, 5),
        discriminator_channels=(8, 32, 64),
        crop=(56, 64, 256),
        batch=(2, 16, 32),
        steps=(6, 350, 10_000),
        warmup_steps=(2, 100, 200),
        history=(8, 512, 1024),
        refiner_rate=(1e-3, 3e-4, 1e-4),
        discriminator_rate=(1e-3, 2e-3, 2e-4),
        lambda_l1=(5.0, 2.0, 5.0),
        lambda_edge=(5.0, 1.0, 5.0),
        ema_decay=(0.5, 0.95, 0.999),
        checkpoint_every=(2, 50, 500),
    )
)
profile_named = PROFILES.named

"""Sizes of ColorNormNet and of its training, by name."""

from __future__ import annotations

from dataclasses import dataclass

from nucleate.profiles import SIZES, Profiles, side_by_side


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Everything that decides a training besides its target and its seed.

    Attributes:
        name: what it is called.
        widths: channels of the strided layers.
        patches: N, patches of W_target in D_target.
        thumbnail: side in pixels of what the network sees.
        batch: patches per step.
        steps: steps of training.
        rate: learning rate of Adam, falling to zero along a cosine.
        weight_l2: λ of L = |e|_1 + λ |e|_2^2, both as means.
        checkpoint_every: steps between checkpoints.
    """

    name: str
    widths: tuple[int, ...]
    patches: int
    thumbnail: int
    batch: int
    steps: int
    rate: float
    weight_l2: float = 1.0
    checkpoint_every: int


PROFILES = Profiles(
    side_by_side(
        Profile,
        name=SIZES,
        widths=((8, 8), (16, 32, 32), (16, 32, 32, 32)),
        patches=(8, 128, 512),
        thumbnail=(32, 64, 128),
        batch=(4, 16, 32),
        steps=(8, 400, 3000),
        rate=(5e-3, 3e-3, 2e-3),
        checkpoint_every=(3, 100, 500),
    )
)
profile_named = PROFILES.named

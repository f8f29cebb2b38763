"""Sizes of ColorNormNet and of its training, by name."""

from __future__ import annotations

from dataclasses import dataclass

from nucleate.errors import UnknownProfile


@dataclass(frozen=True)
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
    weight_l2: float
    checkpoint_every: int


PROFILES = {
    "tiny": Profile("tiny", (8, 8), patches=8, thumbnail=32, batch=4, steps=8, rate=5e-3, weight_l2=1.0, checkpoint_every=3),
    "cpu": Profile(
        "cpu", (16, 32, 32), patches=128, thumbnail=64, batch=16, steps=400, rate=3e-3, weight_l2=1.0, checkpoint_every=100
    ),
    "full": Profile(
        "full",
        (16, 32, 32, 32),
        patches=512,
        thumbnail=128,
        batch=32,
        steps=3000,
        rate=2e-3,
        weight_l2=1.0,
        checkpoint_every=500,
    ),
}


def profile_named(name: str) -> Profile:
    """The profile of that name; "" means "cpu"; UnknownProfile otherwise."""
    try:
        return PROFILES[name or "cpu"]
    except KeyError:
        raise UnknownProfile(name, PROFILES) from None

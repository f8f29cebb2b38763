"""Profiles: the same method at three sizes, by configuration only."""

from __future__ import annotations

import dataclasses

from nucleate.hovernet.inference.sliding_window import Tiling
from nucleate.hovernet.networks.hovernet import Architecture
from nucleate.hovernet.postprocessing.hv_instances import CLEAN, PostProcessing
from nucleate.hovernet.training.loop import Stage, TrainConfig
from nucleate.hovernet.training.losses import LossWeights
from nucleate.hovernet.training.self_training import SelfTrainingConfig
from nucleate.profiles import Profiles


@dataclasses.dataclass(frozen=True)
class Profile:
    """A network, how it is trained, and how whole images go through it."""

    name: str
    arch: Architecture
    training: TrainConfig
    tiling: Tiling
    post: PostProcessing = dataclasses.field(default_factory=PostProcessing)


# Labels of un-annotated images have ragged borders, whose HV gradients are mostly noise.
_NOISY_LABELS = LossWeights(hv_mse=10.0, hv_msge=0.1)

# Accepted masks are few and right: the first stage leans on them, the second spreads what they taught over the pool.
_FIRST = (("pseudo", 0.3), ("accepted", 0.7), ("synthetic", 0.05), ("refined", 0.05))
_SECOND = (("pseudo", 0.5), ("accepted", 0.4), ("synthetic", 0.05), ("refined", 0.05))

_TINY = Profile(
    name="tiny",
    arch=Architecture(width=0.0625, stem_stride=2, units=(1, 1, 1, 1), dense=(1, 1)),
    training=TrainConfig(
        stages=(Stage(8, _FIRST), Stage(4, _SECOND)),
        batch=2,
        crop=64,
        rate=3e-3,
        average=0.8,
        losses=_NOISY_LABELS,
        checkpoint_every=4,
    ),
    tiling=Tiling(tile=256, overlap=32, views=(0,)),
)

_CPU = Profile(
    name="cpu",
    arch=Architecture(width=0.25, stem_stride=2, units=(2, 2, 3, 2), dense=(4, 2)),
    training=TrainConfig(
        stages=(Stage(240, _FIRST), Stage(240, _SECOND)),
        batch=4,
        crop=256,
        rate=3e-3,
        losses=_NOISY_LABELS,
        self_training=SelfTrainingConfig(post=CLEAN, contours=True),
    ),
    tiling=Tiling(tile=1024, overlap=96, views=(0, 6)),
    post=CLEAN,
)

_FULL = dataclasses.replace(
    _CPU,
    name="full",
    arch=Architecture(),
    training=dataclasses.replace(
        _CPU.training,
        stages=(Stage(6000, _FIRST), Stage(6000, _SECOND)),
        batch=16,
        rate=3e-4,
        average=0.999,
        checkpoint_every=500,
    ),
    tiling=Tiling(tile=1024, overlap=128, views=(0, 1, 2, 3, 4, 5, 6, 7)),
)

# The published networks with the recipe of `full`; the windows are the paper's inputs.
_PUBLISHED = [
    dataclasses.replace(_FULL, name=name, arch=arch, training=dataclasses.replace(_FULL.training, crop=crop))
    for name, arch, crop in (
        ("original", Architecture(kernel=5, published=True), 270),
        ("fast", Architecture(published=True), 256),
    )
]

PROFILES = Profiles({profile.name: profile for profile in (_TINY, _CPU, _FULL, *_PUBLISHED)})
named = PROFILES.named

"""Training and architecture sizes by name: `tiny` for tests, `cpu` for two cores, `full` for a GPU (HRNet-W18 + OCR)."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from nucleate import errors


@dataclass(frozen=True)
class Architecture:
    """Sizes of the network of figure 3.2.

    Attributes:
        width: channels of HRNet's highest-resolution branch; the branches have width * (1, 2, 4, 8) channels.
        stem: channels of the two stride-2 convolutions.
        bottleneck: inner channels of the first stage, whose output has 4 times as many.
        stem_blocks: bottleneck blocks in the first stage.
        modules: exchange modules of stages 2, 3 and 4.
        blocks: residual blocks per branch and module.
        context: channels of the object-context keys; pixel features have twice as many.
        segmentation: channels of the segmentation feature that joins the image features.
    """

    width: int
    stem: int
    bottleneck: int
    stem_blocks: int
    modules: tuple[int, int, int]
    blocks: int
    context: int
    segmentation: int = 16

    @property
    def features(self) -> int:
        """Channels that scale and bias apply to: 15 * width image channels and the segmentation feature."""
        return 15 * self.width + self.segmentation

    def to_json(self) -> dict[str, Any]:
        """Plain values for a model card."""
        return {**asdict(self), "modules": list(self.modules)}

    @classmethod
    def from_json(cls, values: object) -> Architecture:
        """Read `to_json` back.

        Raises:
            errors.InvalidModel: a field is missing, unknown or not a small positive whole number.
        """
        names = {field.name for field in fields(cls)}
        if not isinstance(values, dict) or set(values) != names:
            raise errors.InvalidModel(f"model card: 'config' needs exactly the fields {', '.join(sorted(names))}")
        modules = values["modules"]
        numbers = [values[name] for name in names - {"modules"}] + (modules if isinstance(modules, list) else [])
        if not isinstance(modules, list) or len(modules) != 3 or not all(type(n) is int and 0 < n <= 512 for n in numbers):
            raise errors.InvalidModel("model card: 'config' holds a value that is not a whole number from 1 to 512")
        return cls(**{**values, "modules": (modules[0], modules[1], modules[2])})


@dataclass(frozen=True)
class Profile:
    """One training recipe.

    Attributes:
        crop: side of the training crops in pixels, a multiple of 32.
        batch: crops per step.
        steps: optimizer steps.
        learning_rate: peak of the one-cycle schedule.
        iterations: most simulated correction rounds before the gradient step.
        checkpoint_every: steps between checkpoints.
        validation: nuclei on which IoU after 1 and 3 clicks is measured.
    """

    architecture: Architecture
    crop: int
    batch: int
    steps: int
    learning_rate: float
    iterations: int
    checkpoint_every: int
    validation: int


PROFILES = {
    "tiny": Profile(
        Architecture(width=4, stem=8, bottleneck=4, stem_blocks=1, modules=(1, 1, 1), blocks=1, context=8, segmentation=4),
        crop=64,
        batch=4,
        steps=6,
        learning_rate=4e-3,
        iterations=1,
        checkpoint_every=2,
        validation=4,
    ),
    "cpu": Profile(
        Architecture(width=10, stem=24, bottleneck=12, stem_blocks=1, modules=(1, 1, 1), blocks=1, context=24),
        crop=96,
        batch=12,
        steps=360,
        learning_rate=4e-3,
        iterations=2,
        checkpoint_every=60,
        validation=32,
    ),
    "full": Profile(
        Architecture(width=18, stem=64, bottleneck=64, stem_blocks=4, modules=(1, 4, 3), blocks=4, context=64),
        crop=128,
        batch=32,
        steps=12_000,
        learning_rate=1e-3,
        iterations=3,
        checkpoint_every=500,
        validation=256,
    ),
}


def profile_named(name: str) -> Profile:
    """Look a profile up; an empty name means `cpu`.

    Raises:
        errors.UnknownProfile: there is none of that name.
    """
    profile = PROFILES.get(name or "cpu")
    if profile is None:
        raise errors.UnknownProfile(name, PROFILES)
    return profile

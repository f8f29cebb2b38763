"""Training recipes: `tiny` for tests, `cpu` and `diverse` (several masks) for two cores, `w18s`, `full`, `w32` for a GPU."""

from __future__ import annotations

from dataclasses import dataclass, replace

from nucleate import errors
from nucleate.interactive.networks.architectures import ARCHITECTURES, Architecture
from nucleate.interactive.training.losses import PixelLoss


@dataclass(frozen=True)
class Profile:
    """One training recipe.

    Attributes:
        crop: side of the training crops in pixels, a multiple of 32; also the smallest frame at prediction.
        batch: crops per step.
        steps: optimizer steps.
        learning_rate: peak of the one-cycle schedule.
        iterations: most simulated correction rounds before the gradient step.
        checkpoint_every: steps between checkpoints.
        validation: nuclei on which IoU after 1 and 3 clicks is measured.
        zoom: range of the scale of training crops, log-uniform.
        pixel_loss: what is summed over pixels.
        overlap_weight: of the soft intersection over union beside it.
    """

    architecture: Architecture
    crop: int
    batch: int
    steps: int
    learning_rate: float
    iterations: int
    checkpoint_every: int
    validation: int
    zoom: tuple[float, float] = (0.7, 1.6)
    pixel_loss: PixelLoss = PixelLoss.FOCAL
    iou_weight: float = 1.0


PROFILES = {
    "tiny": Profile(
        ARCHITECTURES["tiny"],
        crop=64,
        batch=4,
        steps=6,
        learning_rate=4e-3,
        iterations=1,
        checkpoint_every=2,
        validation=4,
    ),
    "cpu": Profile(
        ARCHITECTURES["cpu"],
        crop=64,
        batch=24,
        steps=700,
        learning_rate=4e-3,
        iterations=2,
        checkpoint_every=200,
        validation=32,
    ),
    "full": Profile(
        ARCHITECTURES["w18"],
        crop=128,
        batch=32,
        steps=12_000,
        learning_rate=1e-3,
        iterations=3,
        checkpoint_every=500,
        validation=256,
    ),
}
# The full recipe for the largest of the published networks; the smallest one takes the reduced recipe.
PROFILES["w32"] = replace(PROFILES["full"], architecture=ARCHITECTURES["w32"])
PROFILES["w18s"] = replace(PROFILES["cpu"], architecture=ARCHITECTURES["w18s"], steps=900, learning_rate=2e-3)
# Latent diversity with the six masks of the published code.
PROFILES["diverse"] = replace(PROFILES["cpu"], architecture=ARCHITECTURES["cpu"].with_masks(6))


def profile_named(name: str) -> Profile:
    """Look a profile up; an empty name means `cpu`.

    Raises:
        errors.UnknownProfile: there is none of that name.
    """
    profile = PROFILES.get(name or "cpu")
    if profile is None:
        raise errors.UnknownProfile(name, PROFILES)
    return profile

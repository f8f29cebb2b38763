"""Training recipes: `tiny` for tests, `cpu` and `diverse` (several masks) for two cores, `w18s`, `full`, `w32` for a GPU."""

from __future__ import annotations

from dataclasses import dataclass, replace

from nucleate.interactive.networks.architectures import ARCHITECTURES, Architecture
from nucleate.interactive.training.losses import PixelLoss
from nucleate.profiles import Profiles, side_by_side


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


_SIZES = side_by_side(
    Profile,
    architecture=(ARCHITECTURES["tiny"], ARCHITECTURES["cpu"], ARCHITECTURES["w18"]),
    crop=(64, 64, 128),
    batch=(4, 24, 32),
    steps=(6, 700, 12_000),
    learning_rate=(4e-3, 4e-3, 1e-3),
    iterations=(1, 2, 3),
    checkpoint_every=(2, 200, 500),
    validation=(4, 32, 256),
)
PROFILES = Profiles(
    _SIZES
    | {
        # The full recipe for the largest of the published networks; the smallest one takes the reduced recipe.
        "w32": replace(_SIZES["full"], architecture=ARCHITECTURES["w32"]),
        "w18s": replace(_SIZES["cpu"], architecture=ARCHITECTURES["w18s"], steps=900, learning_rate=2e-3),
        # Latent diversity with the six masks of the published code.
        "diverse": replace(_SIZES["cpu"], architecture=ARCHITECTURES["cpu"].with_masks(6)),
    }
)
profile_named = PROFILES.named

"""Everything that decides a SinGAN training and harmonization besides the image and the seed."""

from __future__ import annotations

from dataclasses import dataclass

from nucleate.errors import InvalidInput
from nucleate.profiles import Profiles
from nucleate.refiner.singan.networks import FIELD

DOUBLED_EVERY = 4  # scales


@dataclass(frozen=True)
class Settings:
    """Lengths are pixels, images are on [-1, 1]. Raises `InvalidInput` for values that cannot be trained with.

    Attributes:
        channels: of the hidden layers at the coarsest scale; doubled every 4 scales up to `most_channels`.
        scale_factor: largest ratio of neighbouring scales; lowered a little so that the coarsest has `smallest` as its side.
        smallest: shorter side of the coarsest scale; at least the patch that one score of the discriminator sees.
        largest: longest side that is trained on and harmonized in one piece.
        steps: per scale; the rate falls to a tenth after four fifths of them.
        discriminator_steps, generator_steps: updates of each in one step.
        rate: of Adam for both.
        penalty: weight of the gradient penalty.
        alpha: weight of the reconstruction error.
        noise_amplitude: σ of a scale's noise is this times the error that the scale below leaves.
        inject_scale: scale at which harmonization starts, counted from the finest (0). More changes more, shapes included.
        dilation, feather: pixels around the region that are replaced as well, and over which the replacement fades out.
    """

    channels: int = 32
    most_channels: int = 128
    scale_factor: float = 0.75
    smallest: int = 25
    largest: int = 250
    steps: int = 2000
    discriminator_steps: int = 3
    generator_steps: int = 3
    rate: float = 5e-4
    penalty: float = 0.1
    alpha: float = 10.0
    noise_amplitude: float = 0.1
    inject_scale: int = 2
    dilation: int = 3
    feather: int = 4

    def __post_init__(self) -> None:
        counts = (self.channels, self.steps, self.discriminator_steps, self.generator_steps)
        weights = (self.penalty, self.alpha, self.noise_amplitude, self.inject_scale, self.dilation, self.feather)
        for fine, rule in (
            (min(counts) >= 1, "channels and numbers of steps must be at least 1"),
            (self.channels <= self.most_channels, "channels must not be above most_channels"),
            (0 < self.scale_factor < 1, "scale_factor must lie between 0 and 1"),
            (FIELD <= self.smallest <= self.largest, f"smallest must lie between {FIELD} and largest"),
            (self.rate > 0, "rate must be above 0"),
            (min(weights) >= 0, "weights, inject_scale, dilation and feather must not be negative"),
        ):
            if not fine:
                raise InvalidInput(f"SinGAN settings: {rule}")

    def channels_at(self, scale: int) -> int:
        """Width of the hidden layers at `scale`, 0 = coarsest."""
        return int(min(self.channels * 2 ** (scale // DOUBLED_EVERY), self.most_channels))


PRESETS = Profiles(
    {
        # For tests: seconds.
        "tiny": Settings(
            channels=8,
            most_channels=8,
            scale_factor=0.6,
            smallest=16,
            largest=40,
            steps=20,
            discriminator_steps=1,
            generator_steps=1,
            rate=5e-3,
            alpha=50.0,  # in so few steps the critic has little to say yet
            inject_scale=1,
        ),
        # The paper's.
        "full": Settings(),
    },
    default="full",
)
settings_named = PRESETS.named

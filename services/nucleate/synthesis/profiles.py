"""How images are synthesized: the named profiles."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from nucleate.errors import InvalidInput
from nucleate.profiles import Profiles, side_by_side

MIN_SIZE, MAX_SIZE = 64, 4096

Fill = Literal["detail", "telea"]
Material = Literal["nuclei", "eosin"]
Composite = Literal["density", "linear"]
Outline = Literal["fourier", "polygon"]
Models = Literal["mixed", "thresholds"]


@dataclass(frozen=True, slots=True)
class Profile:
    """Everything that shapes a synthetic image besides its reference; lengths in pixels at 40x (0.25 um).

    `models`, `fill`, `material`, `composite` and `outline` name the method of each step; "thresholds", "telea", "eosin",
    "linear" and "polygon" together are the report's own. `models` is how the nuclei to learn from are found. `max_overlap` is
    intersection over the area of the smaller nucleus (report: 0.05). `roughness` is the standard deviation of the radius of the
    random polygons. `tries` is how many places a nucleus is offered before it is dropped and counted. `distractors` are hard
    negatives per nucleus. `restained` is the share of images whose stains move towards those of another image of the pool.
    `jitter` is how far a nucleus strays from the places where the reference has one, in px.
    """

    size: int = 384
    models: Models = "mixed"
    fill: Fill = "detail"
    material: Material = "nuclei"
    composite: Composite = "density"
    outline: Outline = "fourier"
    max_overlap: float = 0.05
    roughness: float = 0.1
    tries: int = 6
    jitter: float = 1.5
    scattered: float = 0.15
    gain_spread: float = 0.07
    distractors: float = 0.04
    restained: float = 0.0
    reference_side: int = 2048

    def for_references(self) -> Profile:
        """The part that a reference depends on, the rest at its defaults: equal for profiles that can share references."""
        return Profile(
            models=self.models,
            fill=self.fill,
            material=self.material,
            jitter=self.jitter,
            scattered=self.scattered,
            reference_side=self.reference_side,
        )

    def stained(self, restained: float) -> Profile:
        """The same with another share of restained images. Raises `InvalidInput` outside of 0 to 1."""
        if not 0.0 <= restained <= 1.0:
            raise InvalidInput(f"restained is {restained:g}: give the share of images in other stains, 0 to 1")
        return replace(self, restained=restained)

    def sized(self, size: int) -> Profile:
        """The same at another image side in px; 0 keeps it. Raises `InvalidInput` outside of 64 to 4096."""
        if size and not MIN_SIZE <= size <= MAX_SIZE:
            raise InvalidInput(
                f"size {size} is outside of {MIN_SIZE} to {MAX_SIZE} px: choose one within, or 0 for {self.size}"
            )
        return replace(self, size=size or self.size)


PROFILES = Profiles(
    side_by_side(Profile, size=(128, 384, 1000), reference_side=(256, 2048, 4096))
    | {
        "report": Profile(
            models="thresholds",
            fill="telea",
            material="eosin",
            composite="linear",
            outline="polygon",
            roughness=0.14,
            jitter=5.0,
            scattered=1.0,
            distractors=0.0,
        ),
    }
)
profile_named = PROFILES.named

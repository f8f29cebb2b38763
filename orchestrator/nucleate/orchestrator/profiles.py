"""What a run asks for per profile: how much synthetic data, which patches, and how much each origin of samples weighs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from nucleate.errors import InvalidInput
from nucleate.profiles import SIZES, Profiles, side_by_side


@dataclass(frozen=True, kw_only=True)
class RunProfile:
    """Sizes in pixels; weights multiply a sample's loss in training.

    `name` is also what the method services are asked for, so that one word configures the whole system.
    """

    name: str
    # Synthetic pairs per cycle; a size of 0 leaves it to the synthesis service's profile.
    synthetic_count: int
    synthetic_size: int = 0
    # Square patches annotated per cycle, and how many of them may come from one image.
    patches: int
    patch_size: int
    patch_stride: int
    patches_per_image: int = 1
    # Robot annotator: accepts an object at this IoU with the oracle, or after so many clicks.
    target_iou: float
    max_clicks: int
    # Loss weight by origin: synthetic textures are the least like the target, accepted masks the most.
    weight_synthetic: float = 0.2
    weight_pseudo: float = 1.0
    weight_accepted: float = 2.0
    # Weigh refined images by how real the discriminator takes them to be (Hou et al. 2019).
    importance: bool = False
    # How, where the plan names a normalization target and no method.
    normalization: str = "reinhard"

    def to_json(self) -> dict[str, Any]:
        """Plain values, for the run's record and the report."""
        return asdict(self)

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> RunProfile:
        """The profile a run was started with; unknown keys are ignored, so that a newer record can still be read."""
        known = {field.name for field in fields(RunProfile)}
        return RunProfile(**{key: value for key, value in data.items() if key in known})


# `full` has the report's sizes: 101 synthetic images a cycle (section 4.1), one annotated 400 x 400 patch for each.
PROFILES = Profiles(
    side_by_side(
        RunProfile,
        name=SIZES,
        synthetic_count=(4, 24, 101),
        patches=(1, 8, 8),
        patch_size=(64, 320, 400),
        patch_stride=(32, 80, 100),
        target_iou=(0.7, 0.8, 0.85),
        max_clicks=(3, 5, 10),
        normalization=("reinhard", "reinhard", "colornormnet"),
    )
)


def profile_named(name: str, overrides: Mapping[str, Any] | None = None) -> RunProfile:
    """Return the profile of that name ("" means cpu) with some fields replaced.

    Raises:
        UnknownProfile: no profile has that name.
        InvalidInput: an override names no field of the profile, or has the wrong type.
    """
    values = PROFILES.named(name).to_json()
    for key, value in (overrides or {}).items():
        if key not in values or key == "name":
            raise InvalidInput(f"unknown run setting '{key}': choose one of {', '.join(sorted(values.keys() - {'name'}))}")
        values[key] = _cast(key, value, type(values[key]))
    return RunProfile(**values)


def _cast(key: str, value: Any, kind: type) -> Any:
    try:
        return kind(value)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"run setting '{key}' is '{value}': give a {kind.__name__}") from error

"""Sizes of the network of figure 3.2 by name: the published HRNets with object context, reduced ones for tests and CPUs."""

from __future__ import annotations

from dataclasses import MISSING, asdict, dataclass, fields, replace
from typing import Any

from nucleate import errors
from nucleate.interactive.clicks import ClickEncoding


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
        masks: of more than one, a latent-diversity head proposes that many masks and selects one (Li et al. 2018).
        clicks: how clicks are drawn for the network.
    """

    width: int
    stem: int
    bottleneck: int
    stem_blocks: int
    modules: tuple[int, int, int]
    blocks: int
    context: int
    segmentation: int = 16
    masks: int = 1
    clicks: ClickEncoding = ClickEncoding.DISKS

    @property
    def image_features(self) -> int:
        """Channels of HRNet's concatenated branches."""
        return 15 * self.width

    @property
    def features(self) -> int:
        """Channels that scale and bias apply to: the image features and the segmentation feature."""
        return self.image_features + self.segmentation

    def with_masks(self, masks: int) -> Architecture:
        """The same sizes with a head that proposes so many masks."""
        return replace(self, masks=masks)

    def to_json(self) -> dict[str, Any]:
        """Plain values for a model card."""
        return {**asdict(self), "modules": list(self.modules)}

    @classmethod
    def from_json(cls, values: object) -> Architecture:
        """Read `to_json` back; fields that have a default may be missing.

        Raises:
            errors.InvalidModel: a field is missing, unknown or not a small positive whole number.
        """
        names = {field.name for field in fields(cls)}
        needed = {field.name for field in fields(cls) if field.default is MISSING}
        if not isinstance(values, dict) or not needed <= set(values) <= names:
            raise errors.InvalidModel(f"model card: 'config' needs exactly the fields {', '.join(sorted(names))}")
        modules = values["modules"]
        clicks = values.get("clicks", ClickEncoding.DISKS)
        if clicks not in list(ClickEncoding):
            raise errors.InvalidModel(f"model card: 'clicks' must be one of {', '.join(ClickEncoding)}")
        numbers = [values[name] for name in set(values) - {"modules", "clicks"}]
        numbers += modules if isinstance(modules, list) else []
        if not isinstance(modules, list) or len(modules) != 3 or not all(type(n) is int and 0 < n <= 512 for n in numbers):
            raise errors.InvalidModel("model card: 'config' holds a value that is not a whole number from 1 to 512")
        return cls(**{**values, "modules": (modules[0], modules[1], modules[2]), "clicks": ClickEncoding(clicks)})


# w18s, w18 and w32 are HRNet-W18-small-v2, W18 and W32 (Wang et al. 2019) with the object-context widths of f-BRS
# (Sofiiuk et al. 2020): 48, 64 and 128.
ARCHITECTURES = {
    "tiny": Architecture(width=4, stem=8, bottleneck=4, stem_blocks=1, modules=(1, 1, 1), blocks=1, context=8, segmentation=4),
    "cpu": Architecture(width=10, stem=24, bottleneck=12, stem_blocks=1, modules=(1, 1, 1), blocks=1, context=24),
    "w18s": Architecture(width=18, stem=64, bottleneck=64, stem_blocks=2, modules=(1, 3, 2), blocks=2, context=48),
    "w18": Architecture(width=18, stem=64, bottleneck=64, stem_blocks=4, modules=(1, 4, 3), blocks=4, context=64),
    "w32": Architecture(width=32, stem=64, bottleneck=64, stem_blocks=4, modules=(1, 4, 3), blocks=4, context=128),
}

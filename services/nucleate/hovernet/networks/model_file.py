"""A trained HoVer-Net as bytes: safetensors and a JSON card; nothing is ever unpickled."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from nucleate.errors import InvalidModel
from nucleate.hovernet.networks import hovernet
from nucleate.hovernet.networks.hovernet import Architecture, HoVerNet
from nucleate.learning.model_file import ModelFormat, pack_weights

KIND = "hovernet"
WEIGHTS = "model.safetensors"
_FORMAT = ModelFormat(KIND, "hovernet-group-norm/1")
_LARGEST = {"width": 4.0, "stem_stride": 4, "units": 64, "dense": 64, "kernel": 9}
_MAX_CLASSES = 250


@dataclasses.dataclass(frozen=True)
class LoadedModel:
    """A network ready to predict and the profile it was trained by."""

    net: HoVerNet
    profile: str


def pack(net: HoVerNet, profile: str, *, dataset_digest: str, parent: str, metrics: Mapping[str, float]) -> tuple[bytes, bytes]:
    """Card (JSON) and weights (safetensors) of a network; `parent` is the digest of the model it started from, or empty."""
    config = dataclasses.asdict(net.arch)
    card = _FORMAT.card(config, profile, dataset_digest=dataset_digest, parent=parent, metrics=metrics)
    return card, pack_weights(net)


def unpack(card: bytes, weights: bytes) -> LoadedModel:
    """The network of a packed model.

    Raises:
        InvalidModel: kind, architecture or shapes do not fit, or a weight is not finite.
    """
    content = _FORMAT.read_card(card)
    net = hovernet.build(_architecture(content.get("config")), seed=0)
    _FORMAT.load_weights(net, {WEIGHTS: weights}, WEIGHTS)
    return LoadedModel(net.eval(), str(content.get("profile", "")))


def _architecture(config: object) -> Architecture:
    """The architecture a card describes, each number checked against a bound so that no card can ask for all memory."""
    damaged = InvalidModel("HoVer-Net model: the card's config is damaged; send the model as Train returned it")
    names = {field.name for field in dataclasses.fields(Architecture)}
    if isinstance(config, dict) and config.get("nr_types") == 0:  # as cards said before models had names for their types
        config = {**config, "classes": []}
        del config["nr_types"]
    if not isinstance(config, dict) or {"published", *config} != names or not isinstance(config.get("published", False), bool):
        raise damaged
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in config.items()}
    classes = values["classes"]
    if not isinstance(classes, tuple) or len(classes) > _MAX_CLASSES or not all(isinstance(name, str) for name in classes):
        raise damaged
    for name, bound in _LARGEST.items():
        numbers = values[name] if isinstance(values[name], tuple) else (values[name],)
        if not all(isinstance(n, int | float) and not isinstance(n, bool) and 0 <= n <= bound for n in numbers):
            raise damaged
    if len(values["units"]) != 4 or len(values["dense"]) != 2 or values["stem_stride"] < 1:
        raise damaged
    return Architecture(**values)

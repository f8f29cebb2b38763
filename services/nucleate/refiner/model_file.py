"""A trained refiner as bytes: safetensors and a JSON card; nothing is ever unpickled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nucleate.errors import InvalidModel
from nucleate.learning.model_file import ModelBytes, ModelFormat, pack_weights
from nucleate.refiner.networks import Discriminator, Refiner, build_pair
from nucleate.refiner.profiles import Profile

KIND = "refiner"
FORMAT = ModelFormat(KIND, "unshuffle2-resnet+spectral-detail-patch-d/1")
REFINER_FILE = "model.safetensors"
DISCRIMINATOR_FILE = "discriminator.safetensors"
CONFIG_KEYS = ("channels", "blocks", "bound", "discriminator_channels")
MAX_WIDTH = 1024


def pack(
    refiner: Refiner,
    discriminator: Discriminator,
    profile: Profile,
    *,
    dataset_digest: str,
    parent: str,
    metrics: Mapping[str, float],
) -> ModelBytes:
    """The averaged refiner and its discriminator, which a later training may start from."""
    config = {key: getattr(profile, key) for key in CONFIG_KEYS}
    card = FORMAT.card(config, profile.name, dataset_digest=dataset_digest, parent=parent, metrics=metrics)
    return ModelBytes(card, {REFINER_FILE: pack_weights(refiner), DISCRIMINATOR_FILE: pack_weights(discriminator)})


def unpack(model: ModelBytes) -> tuple[Refiner, Discriminator]:
    """The pair of a packed model; InvalidModel unless kind, architecture and shapes fit and every number is finite."""
    config = _config(model.card)
    refiner, discriminator = build_pair(**config, seed=0)
    for name, module in ((REFINER_FILE, refiner), (DISCRIMINATOR_FILE, discriminator)):
        FORMAT.load_weights(module, model.files, name)
    return refiner.eval(), discriminator


def metrics_of(card: bytes) -> dict[str, float]:
    """The numbers measured after training; none in a card without them."""
    metrics: Any = FORMAT.read_card(card).get("metrics")
    return (
        {name: value for name, value in metrics.items() if isinstance(value, int | float)} if isinstance(metrics, dict) else {}
    )


def _config(card: bytes) -> dict[str, Any]:
    config: Any = FORMAT.read_card(card).get("config")
    widths = [config.get(key) for key in CONFIG_KEYS if key != "bound"] if isinstance(config, dict) else [None]
    bound = config.get("bound") if isinstance(config, dict) else None
    if not all(type(width) is int and 0 < width <= MAX_WIDTH for width in widths) or not isinstance(bound, float):
        raise InvalidModel("refiner model: the card's config is damaged; send the model as Train returned it")
    return {key: config[key] for key in CONFIG_KEYS}

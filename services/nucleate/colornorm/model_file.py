"""A trained ColorNormNet as bytes: safetensors and a JSON card; nothing is ever unpickled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nucleate.colornorm.network import ColorNormNet, build_network
from nucleate.colornorm.profiles import Profile
from nucleate.errors import InvalidModel
from nucleate.learning.model_file import ModelBytes, ModelFormat, pack_weights

KIND = "colornorm"
FORMAT = ModelFormat(KIND, "colornormnet-offsets/1")
WEIGHTS_FILE = "model.safetensors"
MAX_LAYERS = 6
MAX_WIDTH = 512


@dataclass(frozen=True)
class Config:
    """What it takes to build the network again and to feed it."""

    widths: tuple[int, ...]
    offset: float
    green: bool
    thumbnail: int


def pack(
    network: ColorNormNet, profile: Profile, *, green: bool, dataset_digest: str, metrics: Mapping[str, float]
) -> ModelBytes:
    """The trained network with what is needed to use it."""
    config = {"widths": profile.widths, "offset": profile.offset, "green": green, "thumbnail": profile.thumbnail}
    card = FORMAT.card(config, profile.name, dataset_digest=dataset_digest, parent="", metrics=metrics)
    return ModelBytes(card, {WEIGHTS_FILE: pack_weights(network)})


def unpack(model: ModelBytes) -> tuple[ColorNormNet, Config]:
    """The network of a packed model; InvalidModel unless kind, architecture and shapes fit and every number is finite."""
    config = _config(model.card)
    network = build_network(config.widths, config.offset, config.green, seed=0)
    FORMAT.load_weights(network, model.files, WEIGHTS_FILE)
    return network.eval(), config


def _config(card: bytes) -> Config:
    fields: Any = FORMAT.read_card(card).get("config")
    try:
        config = Config(tuple(fields["widths"]), fields["offset"], fields["green"], fields["thumbnail"])
    except (KeyError, TypeError) as error:
        raise InvalidModel("colornorm model: the card's config is damaged; send the model as Train returned it") from error
    if not _plausible(config):
        raise InvalidModel("colornorm model: the card's config is out of range; send the model as Train returned it")
    return config


def _plausible(config: Config) -> bool:
    sizes = (*config.widths, config.thumbnail)
    return (
        0 < len(config.widths) <= MAX_LAYERS
        and all(type(size) is int and 0 < size <= MAX_WIDTH for size in sizes)
        and isinstance(config.offset, float)
        and 0 < config.offset <= 1
        and isinstance(config.green, bool)
    )

"""A trained ColorNormNet as bytes: safetensors and a JSON card; nothing is ever unpickled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version

import safetensors.torch
import torch

from nucleate.colornorm.network import ColorNormNet, build_network
from nucleate.colornorm.profiles import Profile
from nucleate.errors import InvalidModel

KIND = "colornorm"
ARCHITECTURE = "colornormnet-offsets/1"
WEIGHTS_FILE = "model.safetensors"
MAX_LAYERS = 6
MAX_WIDTH = 512


@dataclass(frozen=True)
class ModelBytes:
    """A model's card and its files by name."""

    card: bytes
    files: Mapping[str, bytes]


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
    card = {
        "kind": KIND,
        "architecture": ARCHITECTURE,
        "config": {"widths": profile.widths, "offset": profile.offset, "green": green, "thumbnail": profile.thumbnail},
        "profile": profile.name,
        "dataset_digest": dataset_digest,
        "parent": "",
        "metrics": dict(metrics),
        "created_by": f"nucleate {version('nucleate')}",
    }
    tensors = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
    return ModelBytes(json.dumps(card, sort_keys=True, indent=1).encode(), {WEIGHTS_FILE: safetensors.torch.save(tensors)})


def unpack(model: ModelBytes) -> tuple[ColorNormNet, Config]:
    """The network of a packed model; InvalidModel unless kind, architecture and shapes fit and every number is finite."""
    config = _config(model.card)
    if WEIGHTS_FILE not in model.files:
        raise InvalidModel(f"colornorm model: file '{WEIGHTS_FILE}' is missing; send the model as Train returned it")
    network = build_network(config.widths, config.offset, config.green, seed=0)
    try:
        tensors = safetensors.torch.load(model.files[WEIGHTS_FILE])
        network.load_state_dict(tensors)
    except (safetensors.SafetensorError, RuntimeError, ValueError) as error:
        raise InvalidModel(f"colornorm model: '{WEIGHTS_FILE}' does not hold the weights that the card describes") from error
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values()):
        raise InvalidModel(f"colornorm model: '{WEIGHTS_FILE}' holds NaN or infinite weights; train it again")
    return network.eval(), config


def _config(card: bytes) -> Config:
    try:
        content = json.loads(card)
        kind, architecture, fields = content["kind"], content["architecture"], content["config"]
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidModel("colornorm model: the card is not a JSON model card; send the model as Train returned it") from error
    if (kind, architecture) != (KIND, ARCHITECTURE):
        raise InvalidModel(f"colornorm model: the card says {kind} {architecture}, this service loads {KIND} {ARCHITECTURE}")
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

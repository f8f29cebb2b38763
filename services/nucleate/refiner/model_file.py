"""A trained refiner as bytes: safetensors and a JSON card; nothing is ever unpickled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import safetensors.torch
import torch
from torch import nn

from nucleate.errors import InvalidModel
from nucleate.refiner.networks import Discriminator, Refiner, build_pair
from nucleate.refiner.profiles import Profile

KIND = "refiner"
ARCHITECTURE = "unshuffle2-resnet+spectral-detail-patch-d/1"
REFINER_FILE = "model.safetensors"
DISCRIMINATOR_FILE = "discriminator.safetensors"
CONFIG_KEYS = ("channels", "blocks", "bound", "discriminator_channels")
MAX_WIDTH = 1024


@dataclass(frozen=True)
class ModelBytes:
    """A model's card and its files by name."""

    card: bytes
    files: Mapping[str, bytes]


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
    card = {
        "kind": KIND,
        "architecture": ARCHITECTURE,
        "config": {key: getattr(profile, key) for key in CONFIG_KEYS},
        "profile": profile.name,
        "dataset_digest": dataset_digest,
        "parent": parent,
        "metrics": dict(metrics),
        "created_by": f"nucleate {version('nucleate')}",
    }
    return ModelBytes(
        card=json.dumps(card, sort_keys=True, indent=1).encode(),
        files={REFINER_FILE: _tensors(refiner), DISCRIMINATOR_FILE: _tensors(discriminator)},
    )


def unpack(model: ModelBytes) -> tuple[Refiner, Discriminator]:
    """The pair of a packed model; InvalidModel unless kind, architecture and shapes fit and every number is finite."""
    config = _config(model.card)
    refiner, discriminator = build_pair(**config, seed=0)
    for name, module in ((REFINER_FILE, refiner), (DISCRIMINATOR_FILE, discriminator)):
        if name not in model.files:
            raise InvalidModel(f"refiner model: file '{name}' is missing; send the model as Train returned it")
        _load(module, model.files[name], name)
    return refiner.eval(), discriminator


def _config(card: bytes) -> dict[str, Any]:
    try:
        content = json.loads(card)
        kind, architecture, config = content["kind"], content["architecture"], content["config"]
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidModel("refiner model: the card is not a JSON model card; send the model as Train returned it") from error
    if (kind, architecture) != (KIND, ARCHITECTURE):
        raise InvalidModel(f"refiner model: the card says {kind} {architecture}, this service loads {KIND} {ARCHITECTURE}")
    widths = [config.get(key) for key in CONFIG_KEYS if key != "bound"] if isinstance(config, dict) else [None]
    bound = config.get("bound") if isinstance(config, dict) else None
    if not all(type(width) is int and 0 < width <= MAX_WIDTH for width in widths) or not isinstance(bound, float):
        raise InvalidModel("refiner model: the card's config is damaged; send the model as Train returned it")
    return {key: config[key] for key in CONFIG_KEYS}


def _load(module: nn.Module, data: bytes, name: str) -> None:
    try:
        tensors = safetensors.torch.load(data)
        module.load_state_dict(tensors)
    except (safetensors.SafetensorError, RuntimeError, ValueError) as error:
        raise InvalidModel(f"refiner model: '{name}' does not hold the weights that the card describes") from error
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values()):
        raise InvalidModel(f"refiner model: '{name}' holds NaN or infinite weights; train it again")


def _tensors(module: nn.Module) -> bytes:
    return safetensors.torch.save({key: value.detach().cpu().contiguous() for key, value in module.state_dict().items()})

"""A trained HoVer-Net as bytes: safetensors and a JSON card; nothing is ever unpickled."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import safetensors
import safetensors.torch
import torch

from nucleate.errors import InvalidModel
from nucleate.hovernet import network
from nucleate.hovernet.network import Architecture, HoVerNet

KIND = "hovernet"
ARCHITECTURE = "hovernet-group-norm/1"
WEIGHTS = "model.safetensors"
_LARGEST = {"width": 4.0, "stem_stride": 4, "units": 64, "dense": 64, "kernel": 9, "nr_types": 255}


@dataclasses.dataclass(frozen=True)
class LoadedModel:
    """A network ready to predict and the profile it was trained by."""

    net: HoVerNet
    profile: str


def pack(net: HoVerNet, profile: str, *, dataset_digest: str, parent: str, metrics: Mapping[str, float]) -> tuple[bytes, bytes]:
    """Card (JSON) and weights (safetensors) of a network; `parent` is the digest of the model it started from, or empty."""
    card = {
        "kind": KIND,
        "architecture": ARCHITECTURE,
        "config": dataclasses.asdict(net.arch),
        "profile": profile,
        "dataset_digest": dataset_digest,
        "parent": parent,
        "metrics": dict(metrics),
        "created_by": f"nucleate {version('nucleate')}",
    }
    tensors = {name: value.detach().cpu().contiguous() for name, value in net.state_dict().items()}
    return json.dumps(card, sort_keys=True, indent=1).encode(), safetensors.torch.save(tensors)


def unpack(card: bytes, weights: bytes) -> LoadedModel:
    """The network of a packed model.

    Raises:
        InvalidModel: kind, architecture or shapes do not fit, or a weight is not finite.
    """
    content = _content(card)
    net = network.build(_architecture(content.get("config")), seed=0)
    try:
        tensors = safetensors.torch.load(weights)
        net.load_state_dict(tensors)
    except (safetensors.SafetensorError, RuntimeError, ValueError) as error:
        raise InvalidModel(f"HoVer-Net model: '{WEIGHTS}' does not hold the weights that the card describes") from error
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values()):
        raise InvalidModel(f"HoVer-Net model: '{WEIGHTS}' holds NaN or infinite weights; train it again")
    return LoadedModel(net.eval(), str(content.get("profile", "")))


def _content(card: bytes) -> dict[str, Any]:
    try:
        content = json.loads(card)
        found = (content["kind"], content["architecture"])
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidModel("HoVer-Net model: the card is not a JSON model card; send the model as Train returned it") from error
    if found != (KIND, ARCHITECTURE):
        raise InvalidModel(f"HoVer-Net model: the card says {found[0]} {found[1]}, this service loads {KIND} {ARCHITECTURE}")
    return dict(content)


def _architecture(config: object) -> Architecture:
    """The architecture a card describes, each number checked against a bound so that no card can ask for all memory."""
    damaged = InvalidModel("HoVer-Net model: the card's config is damaged; send the model as Train returned it")
    names = {field.name for field in dataclasses.fields(Architecture)}
    if not isinstance(config, dict) or set(config) != names:
        raise damaged
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in config.items()}
    for name, bound in _LARGEST.items():
        numbers = values[name] if isinstance(values[name], tuple) else (values[name],)
        if not all(isinstance(n, int | float) and not isinstance(n, bool) and 0 <= n <= bound for n in numbers):
            raise damaged
    if len(values["units"]) != 4 or len(values["dense"]) != 2 or values["stem_stride"] < 1:
        raise damaged
    return Architecture(**values)

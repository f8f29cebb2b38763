"""A trained model as bytes: a JSON card and safetensors, checked when they are read; nothing is ever unpickled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import nn

from nucleate.errors import InvalidModel
from nucleate.learning import checkpoint


@dataclass(frozen=True)
class ModelBytes:
    """A model's card and its files by name."""

    card: bytes
    files: Mapping[str, bytes]


@dataclass(frozen=True)
class ModelFormat:
    """What a method's models call themselves: the card's `kind` and `architecture`."""

    kind: str
    architecture: str

    def card(
        self, config: Mapping[str, Any], profile: str, *, dataset_digest: str, parent: str, metrics: Mapping[str, float]
    ) -> bytes:
        """The card as sorted JSON.

        Args:
            config: what it takes to build the network again.
            profile: name of the profile that it was trained by.
            dataset_digest: of the data set that it was trained on.
            parent: digest of the model it started from, or empty.
            metrics: figures of the training.
        """
        values = {
            "kind": self.kind,
            "architecture": self.architecture,
            "config": dict(config),
            "profile": profile,
            "dataset_digest": dataset_digest,
            "parent": parent,
            "metrics": dict(metrics),
            "created_by": f"nucleate {version('nucleate')}",
        }
        return json.dumps(values, sort_keys=True, indent=1).encode()

    def read_card(self, data: bytes) -> dict[str, Any]:
        """The content of a card; all but kind and architecture is still to be checked.

        Raises:
            InvalidModel: no card, or one of another kind or architecture.
        """
        try:
            values = json.loads(data)
        except ValueError as error:
            raise self._no_card("it is not JSON") from error
        if not isinstance(values, dict) or not {"kind", "architecture"} <= set(values):
            raise self._no_card("it names no kind and architecture")
        kind, architecture = values["kind"], values["architecture"]
        if (kind, architecture) != (self.kind, self.architecture):
            raise InvalidModel(
                f"{self.kind} model: the model card says {kind} {architecture}, "
                f"this service loads {self.kind} {self.architecture}"
            )
        return values

    def load_weights(self, module: nn.Module, files: Mapping[str, bytes], name: str) -> None:
        """Fills `module`, built as the card says, from the file `name`.

        Raises:
            InvalidModel: the file is missing or damaged, fits another architecture, or holds a value that is not finite.
        """
        if name not in files:
            raise InvalidModel(f"{self.kind} model: file '{name}' is missing; send the model as Train returned it")
        file = f"{self.kind} model: '{name}'"
        try:
            tensors = safetensors.torch.load(files[name])
        except (safetensors.SafetensorError, KeyError, ValueError) as error:
            raise InvalidModel(
                f"{file} is damaged and does not hold any weights; send the model as Train returned it"
            ) from error
        try:
            module.load_state_dict(tensors)
        except RuntimeError as error:
            message = f"{file} does not fit the architecture: it does not hold the weights that the card describes"
            raise InvalidModel(message) from error
        if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values()):
            raise InvalidModel(f"{file} is not finite: it holds NaN or infinite weights; train it again")

    def _no_card(self, why: str) -> InvalidModel:
        return InvalidModel(f"{self.kind} model: this is not a JSON model card, {why}; send the model as Train returned it")


def pack_weights(module: nn.Module) -> bytes:
    """A network's weights and buffers as safetensors."""
    return checkpoint.to_bytes(module.state_dict())

"""A training's state as bytes: named groups of tensors in one safetensors file, never pickle."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from nucleate.errors import CorruptBlob


def to_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    """Tensors of any device and layout as safetensors, bit for bit."""
    return safetensors.torch.save({name: value.detach().cpu().contiguous() for name, value in tensors.items()})


def prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The group as it stands among others; `prefix` ends in the group's separator."""
    return {f"{prefix}{name}": value for name, value in tensors.items()}


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The group that `prefixed` put among others."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def moments(optimizer: torch.optim.Optimizer, separator: str) -> dict[str, Tensor]:
    """An Adam's memory: "{index of the parameter}{separator}{moment}"."""
    state = optimizer.state_dict()["state"]
    return {f"{index}{separator}{name}": value for index, values in state.items() for name, value in values.items()}


def restore_moments(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], separator: str) -> None:
    """Gives an optimizer back what `moments` took; its own rates stay."""
    state: dict[int, dict[str, Any]] = {}
    for key, value in tensors.items():
        index, name = key.split(separator, 1)
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def read(data: bytes, training: str) -> dict[str, Tensor]:
    """The tensors of a checkpoint.

    Raises:
        CorruptBlob: the bytes are no checkpoint; `training` names it.
    """
    with opened(data, training) as tensors:
        return tensors


@contextmanager
def opened(data: bytes, training: str) -> Iterator[dict[str, Tensor]]:
    """The tensors of a checkpoint, to be taken over in the body; `training` names it in the error.

    Raises:
        CorruptBlob: the bytes are no checkpoint, or the body found that they do not fit.
    """
    try:
        yield safetensors.torch.load(data)
    except (KeyError, RuntimeError, ValueError, safetensors.SafetensorError) as error:
        raise CorruptBlob(f"the {training} checkpoint does not fit this training: start it under a new job id") from error

"""All that a training of ColorNormNet carries from one step to the next, and its form as bytes (safetensors)."""

from __future__ import annotations

from typing import Any

import safetensors.torch
import torch

from nucleate.colornorm.network import ColorNormNet, build_network
from nucleate.colornorm.profiles import Profile
from nucleate.errors import CorruptBlob


class TrainingState:
    """The network, Adam's moments and the number of steps done."""

    def __init__(self, profile: Profile, green: bool, seed: int, device: torch.device) -> None:
        self.network: ColorNormNet = build_network(profile.widths, profile.offset, green, seed).to(device)
        self.optimizer = torch.optim.Adam(self.network.parameters(), profile.rate)
        self.step = 0

    def to_bytes(self) -> bytes:
        """Everything, exactly: a training restored from it goes on to the same bits."""
        tensors = {"step": torch.tensor(self.step)}
        tensors |= {f"network.{key}": value for key, value in self.network.state_dict().items()}
        for index, moments in self.optimizer.state_dict()["state"].items():
            tensors |= {f"adam.{index}.{key}": value for key, value in moments.items()}
        return safetensors.torch.save({key: value.detach().cpu().contiguous() for key, value in tensors.items()})

    def restore(self, data: bytes) -> None:
        """Goes back to where `to_bytes` was called; CorruptBlob if the checkpoint is of another training."""
        try:
            tensors = safetensors.torch.load(data)
            self.step = int(tensors.pop("step"))
            moments: dict[int, dict[str, Any]] = {}
            weights = {}
            for key, value in tensors.items():
                owner, name = key.split(".", 1)
                if owner == "network":
                    weights[name] = value
                else:
                    index, name = name.split(".", 1)
                    moments.setdefault(int(index), {})[name] = value
            self.network.load_state_dict(weights)
            self.optimizer.load_state_dict({"state": moments, "param_groups": self.optimizer.state_dict()["param_groups"]})
        except (KeyError, RuntimeError, ValueError, safetensors.SafetensorError) as error:
            message = "the ColorNormNet checkpoint does not fit this training; start it under a new job id"
            raise CorruptBlob(message) from error

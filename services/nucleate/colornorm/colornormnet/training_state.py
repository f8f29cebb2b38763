"""All that a training of ColorNormNet carries from one step to the next, and its form as bytes (safetensors)."""

from __future__ import annotations

import torch

from nucleate.colornorm.colornormnet.network import ColorNormNet, Shape, build_network
from nucleate.colornorm.profiles import Profile
from nucleate.learning import checkpoint


class TrainingState:
    """The network, Adam's moments and the number of steps done."""

    def __init__(self, profile: Profile, shape: Shape, seed: int, device: torch.device) -> None:
        self.network: ColorNormNet = build_network(shape, seed).to(device)
        self.optimizer = torch.optim.Adam(self.network.parameters(), profile.rate)
        self.step = 0

    def to_bytes(self) -> bytes:
        """Everything, exactly: a training restored from it goes on to the same bits."""
        tensors = {"step": torch.tensor(self.step)}
        tensors |= checkpoint.prefixed("network.", self.network.state_dict())
        tensors |= checkpoint.prefixed("adam.", checkpoint.moments(self.optimizer, "."))
        return checkpoint.to_bytes(tensors)

    def restore(self, data: bytes) -> None:
        """Goes back to where `to_bytes` was called; CorruptBlob if the checkpoint is of another training."""
        with checkpoint.opened(data, "ColorNormNet") as tensors:
            self.network.load_state_dict(checkpoint.under("network.", tensors))
            checkpoint.restore_moments(self.optimizer, checkpoint.under("adam.", tensors), ".")
            self.step = int(tensors["step"])

"""All that a training carries from one step to the next, and its form as bytes (safetensors)."""

from __future__ import annotations

import copy

import torch
from torch import nn

from nucleate.errors import InvalidModel
from nucleate.learning import checkpoint
from nucleate.refiner.networks import Discriminator, Refiner, TaskNetwork, build_pair, build_task
from nucleate.refiner.profiles import Profile
from nucleate.refiner.training.history_buffer import HistoryBuffer


class TrainingState:
    """R, D, the moving average of R, both optimizers, the history buffer and the number of steps done.

    With `lambda_hard`, the segmenter of L_hard and its optimizer as well.
    """

    def __init__(self, profile: Profile, seed: int, device: torch.device) -> None:
        refiner, discriminator = build_pair(
            profile.channels, profile.blocks, profile.bound, profile.discriminator_channels, seed
        )
        self.device = device
        self.refiner: Refiner = refiner.to(device)
        self.discriminator: Discriminator = discriminator.to(device)
        self.average: Refiner = copy.deepcopy(self.refiner).requires_grad_(requires_grad=False)
        self.refiner_optimizer = torch.optim.Adam(self.refiner.parameters(), profile.refiner_rate, betas=(0.5, 0.99))
        self.discriminator_optimizer = torch.optim.Adam(
            self.discriminator.parameters(), profile.discriminator_rate, betas=(0.5, 0.99)
        )
        self.task: TaskNetwork | None = None
        if profile.lambda_hard:
            self.task = build_task(profile.channels, seed).to(device)
            self.task_optimizer = torch.optim.Adam(self.task.parameters(), profile.discriminator_rate)
        self.history = HistoryBuffer(profile.history, profile.crop)
        self.step = 0

    def start_from(self, refiner: Refiner, discriminator: Discriminator) -> None:
        """Takes the weights of an earlier pair; InvalidModel if it is of another size than this training's profile."""
        try:
            for module in (self.refiner, self.average):
                module.load_state_dict(refiner.state_dict())
            self.discriminator.load_state_dict(discriminator.state_dict())
        except RuntimeError as error:
            raise InvalidModel("the initial refiner is of another size than this profile; send one of the same") from error

    def to_bytes(self) -> bytes:
        """Everything, exactly: a training restored from it goes on to the same bits."""
        tensors = {
            "step": torch.tensor(self.step),
            "history.count": torch.tensor(self.history.count),
            "history.images": torch.from_numpy(self.history.images_N3HW),
        }
        for name, module in self._modules().items():
            tensors |= checkpoint.prefixed(f"{name}.", module.state_dict())
        for name, optimizer in self._optimizers().items():
            tensors |= checkpoint.prefixed(f"{name}.", checkpoint.moments(optimizer, "."))
        return checkpoint.to_bytes(tensors)

    def restore(self, data: bytes) -> None:
        """Goes back to where `to_bytes` was called; CorruptBlob if the checkpoint is of another training."""
        with checkpoint.opened(data, "refiner") as tensors:
            for name, module in self._modules().items():
                module.load_state_dict(checkpoint.under(f"{name}.", tensors))
            for name, optimizer in self._optimizers().items():
                checkpoint.restore_moments(optimizer, checkpoint.under(f"{name}.", tensors), ".")
            self.history.images_N3HW[:] = tensors["history.images"].numpy()
            self.history.count, self.step = int(tensors["history.count"]), int(tensors["step"])

    def _modules(self) -> dict[str, nn.Module]:
        pair: dict[str, nn.Module] = {"refiner": self.refiner, "average": self.average, "discriminator": self.discriminator}
        return pair | ({"task": self.task} if self.task else {})

    def _optimizers(self) -> dict[str, torch.optim.Optimizer]:
        pair: dict[str, torch.optim.Optimizer] = {
            "refiner_adam": self.refiner_optimizer,
            "discriminator_adam": self.discriminator_optimizer,
        }
        return pair | ({"task_adam": self.task_optimizer} if self.task else {})

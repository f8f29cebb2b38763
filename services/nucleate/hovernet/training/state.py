"""All that a training carries from one step to the next, and its form as bytes (safetensors, never pickle)."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from nucleate.hovernet.networks import hovernet
from nucleate.hovernet.networks.hovernet import Architecture, HoVerNet
from nucleate.learning import checkpoint

_MOMENTS = ("exp_avg", "exp_avg_sq")


class TrainingState:
    """The network, its moving average, AdamW's moments, the averages kept as candidates, the teacher, and the steps done."""

    def __init__(self, arch: Architecture, seed: int, decay: float, device: torch.device) -> None:
        self.device = device
        self.net = hovernet.build(arch, seed).to(device)
        self.average = copy.deepcopy(self.net).requires_grad_(requires_grad=False).eval()
        self.optimizer = torch.optim.AdamW(self.net.parameters(), weight_decay=decay)
        self.candidates: dict[int, dict[str, Tensor]] = {}
        self.teacher: HoVerNet | None = None
        self.terms: dict[str, float] = {}
        self.step = 0

    def start_from(self, initial: HoVerNet) -> None:
        """Begins with the weights of another network of the same architecture."""
        for net in (self.net, self.average):
            net.load_state_dict(initial.state_dict())

    def update_teacher(self) -> HoVerNet:
        """Makes the average as it is now the teacher that relabels the pool."""
        self.teacher = copy.deepcopy(self.average)
        return self.teacher

    def keep_candidate(self) -> None:
        """Remembers the average as it is now."""
        self.candidates[self.step] = {name: value.clone() for name, value in self.average.state_dict().items()}

    def to_bytes(self) -> bytes:
        """Everything, exactly: a training restored from it goes on to the same bits."""
        tensors = {"step": torch.tensor(self.step)}
        groups = {"net": self.net.state_dict(), "average": self.average.state_dict()}
        groups |= {f"candidate.{step}": weights for step, weights in self.candidates.items()}
        groups |= {} if self.teacher is None else {"teacher": self.teacher.state_dict()}
        groups |= {"terms": {name: torch.tensor(value, dtype=torch.float64) for name, value in self.terms.items()}}
        groups |= {moment: self._moments(moment) for moment in _MOMENTS} | {"updates": self._moments("step")}
        for group, weights in groups.items():
            tensors |= checkpoint.prefixed(f"{group}/", weights)
        return checkpoint.to_bytes(tensors)

    def restore(self, data: bytes) -> None:
        """Goes back to where `to_bytes` was called.

        Raises:
            CorruptBlob: the bytes are not a checkpoint of this training.
        """
        with checkpoint.opened(data, "HoVer-Net") as tensors:
            self.net.load_state_dict(checkpoint.under("net/", tensors))
            self.average.load_state_dict(checkpoint.under("average/", tensors))
            self.step = int(tensors["step"])
            self.terms = {name: value.item() for name, value in checkpoint.under("terms/", tensors).items()}
            if teacher := checkpoint.under("teacher/", tensors):
                self.update_teacher().load_state_dict(teacher)
            self._restore_moments(tensors)
            steps = {int(name.split("/")[0]) for name in checkpoint.under("candidate.", tensors)}
            self.candidates = {step: checkpoint.under(f"candidate.{step}/", tensors) for step in sorted(steps)}

    def _moments(self, moment: str) -> dict[str, Tensor]:
        state = self.optimizer.state
        return {name: state[value][moment] for name, value in self.net.named_parameters() if value in state}

    def _restore_moments(self, tensors: dict[str, Tensor]) -> None:
        moments = {moment: checkpoint.under(f"{moment}/", tensors) for moment in _MOMENTS}
        updates = checkpoint.under("updates/", tensors)  # fewer than steps for what was frozen at first
        for name, value in self.net.named_parameters():
            if name in updates:
                self.optimizer.state[value] = {"step": updates[name]} | {
                    moment: _laid_out_as(moments[moment][name].to(self.device), value) for moment in _MOMENTS
                }


def _laid_out_as(value: Tensor, like: Tensor) -> Tensor:
    """`value` in the memory layout of `like`: the optimizer's sums then run in the same order."""
    return torch.empty_like(like, requires_grad=False).copy_(value)

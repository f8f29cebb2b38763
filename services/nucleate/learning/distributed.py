"""One training over several processes: each takes a share of every batch, and gradients are averaged (DDP)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel


@dataclass(frozen=True)
class World:
    """Which of how many processes this is."""

    rank: int = 0
    size: int = 1

    def share(self, batch: int) -> int:
        """How many windows of a batch fall to each process, at least one."""
        return max(1, batch // self.size)

    def seeds(self, *parts: int) -> tuple[int, ...]:
        """Of this process's share: those of a single process are the parts themselves."""
        return parts if self.size == 1 else (*parts, self.rank)

    def data_parallel(self, net: nn.Module, *, unused: bool) -> nn.Module:
        """The network as it is called in training: its gradients are averaged over all processes during `backward`.

        `unused` says that parameters may have no part in the loss.
        """
        return net if self.size == 1 else DistributedDataParallel(net, find_unused_parameters=unused)


@contextmanager
def initialised_world(device: str) -> Iterator[tuple[World, torch.device]]:
    """The processes that torchrun has started, and this one's device; one GPU each where there are GPUs."""
    rank, local = int(os.environ["RANK"]), int(os.environ["LOCAL_RANK"])
    place = torch.device("cuda", local) if device == "cuda" else torch.device("cpu")
    if device == "cuda":
        torch.cuda.set_device(place)
    torch.distributed.init_process_group("nccl" if device == "cuda" else "gloo")
    try:
        yield World(rank, torch.distributed.get_world_size()), place
    finally:
        torch.distributed.destroy_process_group()

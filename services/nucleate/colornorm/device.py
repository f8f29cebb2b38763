"""Where the tensors live."""

from __future__ import annotations

import torch

from nucleate.errors import InvalidInput, Precondition


def choose_device(name: str) -> torch.device:
    """Take "auto" as the GPU where torch sees one; InvalidInput for an unknown name, Precondition for a missing GPU."""
    if name not in {"auto", "cpu", "cuda"}:
        raise InvalidInput(f"unknown device '{name}': choose auto, cpu or cuda")
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise Precondition("device=cuda, but no CUDA device is visible: set NUCLEATE_DEVICE=cpu or fix the driver")
    return torch.device("cuda" if available and name != "cpu" else "cpu")

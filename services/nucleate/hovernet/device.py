"""Where to compute."""

from __future__ import annotations

import torch

from nucleate.errors import Precondition


def choose(name: str) -> torch.device:
    """The device of a settings value: "auto" takes CUDA where there is any, "cuda" insists on it, anything else is the CPU.

    Raises:
        Precondition: CUDA is asked for and cannot be used.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise Precondition(
            "device 'cuda' cannot be used here: install a CUDA build of torch and a driver, or set NUCLEATE_DEVICE=cpu"
        )
    return torch.device("cuda" if name == "cuda" or (name == "auto" and torch.cuda.is_available()) else "cpu")

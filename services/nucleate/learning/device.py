"""Where to compute."""

from __future__ import annotations

import torch

from nucleate.errors import InvalidInput, Precondition


def choose_device(name: str) -> str:
    """The setting as "cpu" or "cuda"; "auto" takes the GPU where torch sees one.

    Raises:
        InvalidInput: none of "auto", "cpu" and "cuda".
        Precondition: "cuda" is asked for and there is none.
    """
    if name not in {"auto", "cpu", "cuda"}:
        raise InvalidInput(f"unknown device '{name}': choose auto, cpu or cuda")
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise Precondition("device=cuda, but no CUDA device is visible: set NUCLEATE_DEVICE=cpu or fix the driver")
    return "cuda" if available and name != "cpu" else "cpu"

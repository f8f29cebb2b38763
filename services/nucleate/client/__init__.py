"""The thin client: what the command line and other programs use to talk to nucleate's services.

`Client` and `AsyncClient` segment nuclei by clicks (`interactive`). Image folders become blobs in the object
store, models travel as folders, results land whole or not at all (`files`), long calls are followed and re-attached
(`service_calls`), and `local` runs the services as processes of this machine. Imports neither numpy nor torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nucleate.client.interactive.async_client import AsyncClient, AsyncSession
    from nucleate.client.interactive.client import Client, Session
    from nucleate.client.interactive.masks import Box, LabelMap, Mask
    from nucleate.client.interactive.results import (
        Click,
        ClickedNucleus,
        Nucleus,
        Prediction,
        Probability,
        SessionResult,
        Spent,
        StoredImage,
    )

__all__ = [
    "AsyncClient",
    "AsyncSession",
    "Box",
    "Click",
    "ClickedNucleus",
    "Client",
    "LabelMap",
    "Mask",
    "Nucleus",
    "Prediction",
    "Probability",
    "Session",
    "SessionResult",
    "Spent",
    "StoredImage",
]

_PLACES = {
    "async_client": ("AsyncClient", "AsyncSession"),
    "client": ("Client", "Session"),
    "masks": ("Box", "LabelMap", "Mask"),
    "results": ("Click", "ClickedNucleus", "Nucleus", "Prediction", "Probability", "SessionResult", "Spent", "StoredImage"),
}


def __getattr__(name: str) -> Any:
    """Import on first use: the command line starts without gRPC."""
    for module, names in _PLACES.items():
        if name in names:
            return getattr(import_module(f"nucleate.client.interactive.{module}"), name)
    raise AttributeError(f"module 'nucleate.client' has no attribute '{name}'")

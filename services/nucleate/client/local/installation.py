"""Where an installation keeps its files, and what nucleate's services are called."""

from __future__ import annotations

import os
from pathlib import Path

SERVICES = ("synthesis", "refiner", "colornorm", "interactive", "hovernet", "annotator", "orchestrator")


def default_home() -> Path:
    """Return $NUCLEATE_HOME, or `.nucleate` in the working directory."""
    return Path(os.environ.get("NUCLEATE_HOME") or ".nucleate").absolute()


def module_of(service: str) -> str:
    """Return the module that `python -m` runs for a service."""
    return "nucleate.orchestrator" if service == "orchestrator" else f"nucleate.{service}"


def endpoint_variable(service: str) -> str:
    """Return the environment variable that carries a service's endpoint, "host:port"."""
    return f"NUCLEATE_ENDPOINT_{service.upper()}"

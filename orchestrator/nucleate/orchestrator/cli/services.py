"""Connects a command to the services it needs, or starts them for its duration."""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil
import signal
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nucleate.client.local.installation import default_home, endpoint_variable
from nucleate.client.local.process_registry import load_registry
from nucleate.client.local.supervisor import Supervisor
from nucleate.client.service_calls import ServiceClient
from nucleate.errors import Unreachable
from nucleate.orchestrator.cli.terminal.progress import ProgressDisplay
from nucleate.runtime.blobs import Blobs
from nucleate.runtime.store import open_store

_STUBS = {
    "synthesis": "SynthesisServiceStub",
    "refiner": "RefinerServiceStub",
    "colornorm": "ColorNormServiceStub",
    "interactive": "InteractiveServiceStub",
    "hovernet": "HoverNetServiceStub",
    "annotator": "AnnotatorServiceStub",
    "orchestrator": "OrchestratorServiceStub",
}


class ServiceConnections:
    """A store and clients of some services."""

    def __init__(self, store: str, endpoints: Mapping[str, str], display: ProgressDisplay) -> None:
        self.blobs = Blobs(open_store(store))
        self.display = display
        self._endpoints = endpoints
        self._clients: dict[str, ServiceClient[Any]] = {}

    def client(self, service: str) -> ServiceClient[Any]:
        """Return the client of a service."""
        if service not in self._clients:
            factory = getattr(importlib.import_module(f"nucleate.v1.{service}_pb2_grpc"), _STUBS[service])
            client = ServiceClient(service, self._endpoints[service], factory, self.display.note)
            if not os.environ.get(endpoint_variable(service)):
                client.connect_timeout_s = client.reconnect_timeout_s  # its process is alive, so it may still be starting
            self._clients[service] = client
        return self._clients[service]

    def close(self) -> None:
        """Close the connections."""
        for client in self._clients.values():
            client.close()


@contextlib.contextmanager
def running_services(required: Sequence[str], display: ProgressDisplay) -> Iterator[ServiceConnections]:
    """Connect to services that run already, by the environment or by `nucleate up`.

    Raises:
        Unreachable: one of them is known nowhere.
    """
    found = _known_endpoints(required)
    if found is None:
        raise Unreachable(f"no {' or '.join(required)} service runs in {default_home()}: start with `nucleate up`")
    with contextlib.closing(ServiceConnections(*found, display)) as services:
        yield services


@contextlib.contextmanager
def ensure_services(required: Sequence[str], display: ProgressDisplay) -> Iterator[ServiceConnections]:
    """Connect to running services, else start just `required` with a temporary store and stop them at the end."""
    found = _known_endpoints(required)
    if found is None:
        with _temporary_services(required, display) as services:
            yield services
        return
    with contextlib.closing(ServiceConnections(*found, display)) as services:
        yield services


def new_job_id(command: str) -> str:
    """Return an id for a job of one command."""
    return f"cli-{command}-{uuid.uuid4().hex[:12]}"


def _known_endpoints(required: Sequence[str]) -> tuple[str, dict[str, str]] | None:
    """Return the store and the endpoints, those in the environment before those of the local installation."""
    home = default_home()
    registry = load_registry(home)
    running = {name: registry.endpoints[name] for name in registry.running} if registry else {}
    named = {name: os.environ[endpoint_variable(name)] for name in required if os.environ.get(endpoint_variable(name))}
    endpoints = running | named
    if any(name not in endpoints for name in required):
        return None
    local = registry.store if registry and not named else (home / "store").as_uri()
    return (local if registry and not named else os.environ.get("NUCLEATE_STORE", local)), endpoints


@contextlib.contextmanager
def _temporary_services(required: Sequence[str], display: ProgressDisplay) -> Iterator[ServiceConnections]:
    home = Path(tempfile.mkdtemp(prefix="nucleate-"))
    supervisor = Supervisor(home, store=(home / "store").as_uri(), drain_s=1.0)
    try:
        display.note(f"starting {', '.join(required)} for this command")
        registry = supervisor.up(lambda _name, _state: None, required, kept=False)
        with contextlib.closing(ServiceConnections(registry.store, registry.endpoints, display)) as services:
            try:
                yield services
            except Unreachable as error:
                raise Unreachable(f"{error}{supervisor.crash_report()}") from None
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not leave processes behind
        supervisor.down(lambda _name, _state: None)
        shutil.rmtree(home, ignore_errors=True)

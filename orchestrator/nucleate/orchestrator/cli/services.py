"""Finds the services a command needs, or starts them for as long as it takes."""

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
from nucleate.client.local.process_registry import load_state
from nucleate.client.local.supervisor import Supervisor
from nucleate.client.service_calls import Remote
from nucleate.errors import Unreachable
from nucleate.orchestrator.cli.terminal.progress import Display
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


class Session:
    """A store and the endpoints of some services."""

    def __init__(self, store: str, endpoints: Mapping[str, str], display: Display) -> None:
        self.blobs = Blobs(open_store(store))
        self.display = display
        self._endpoints = endpoints
        self._remotes: dict[str, Remote[Any]] = {}

    def remote(self, service: str) -> Remote[Any]:
        """Return the connection to a service."""
        if service not in self._remotes:
            factory = getattr(importlib.import_module(f"nucleate.v1.{service}_pb2_grpc"), _STUBS[service])
            remote = Remote(service, self._endpoints[service], factory, self.display.note)
            if not os.environ.get(endpoint_variable(service)):
                remote.first_patience_s = remote.patience_s  # its process is alive, so it may still be starting
            self._remotes[service] = remote
        return self._remotes[service]

    def close(self) -> None:
        """Close the connections."""
        for remote in self._remotes.values():
            remote.close()


@contextlib.contextmanager
def running_services(needs: Sequence[str], display: Display) -> Iterator[Session]:
    """Connect to services that run already, by the environment or by `nucleate up`.

    Raises:
        Unreachable: one of them is known nowhere.
    """
    found = _known(needs)
    if found is None:
        raise Unreachable(f"no {' or '.join(needs)} service runs in {default_home()}: start with `nucleate up`")
    with contextlib.closing(Session(*found, display)) as session:
        yield session


@contextlib.contextmanager
def any_services(needs: Sequence[str], display: Display) -> Iterator[Session]:
    """Connect to running services, else start just `needs` with a temporary store and stop them at the end."""
    found = _known(needs)
    if found is None:
        with _transient(needs, display) as session:
            yield session
        return
    with contextlib.closing(Session(*found, display)) as session:
        yield session


def new_job_id(command: str) -> str:
    """Return an id for a job of one command."""
    return f"cli-{command}-{uuid.uuid4().hex[:12]}"


def _known(needs: Sequence[str]) -> tuple[str, dict[str, str]] | None:
    """Return the store and the endpoints, those in the environment before those of the local installation."""
    home = default_home()
    state = load_state(home)
    running = {name: state.endpoints[name] for name in state.running} if state else {}
    named = {name: os.environ[endpoint_variable(name)] for name in needs if os.environ.get(endpoint_variable(name))}
    endpoints = running | named
    if any(name not in endpoints for name in needs):
        return None
    local = state.store if state and not named else (home / "store").as_uri()
    return (local if state and not named else os.environ.get("NUCLEATE_STORE", local)), endpoints


@contextlib.contextmanager
def _transient(needs: Sequence[str], display: Display) -> Iterator[Session]:
    home = Path(tempfile.mkdtemp(prefix="nucleate-"))
    supervisor = Supervisor(home, store=(home / "store").as_uri(), drain_s=1.0)
    try:
        display.note(f"starting {', '.join(needs)} for this command")
        state = supervisor.up(lambda _name, _state: None, needs, kept=False)
        with contextlib.closing(Session(state.store, state.endpoints, display)) as session:
            try:
                yield session
            except Unreachable as error:
                raise Unreachable(f"{error}{supervisor.epitaph()}") from None
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not leave processes behind
        supervisor.down(lambda _name, _state: None)
        shutil.rmtree(home, ignore_errors=True)

"""The registry of an installation's service processes: HOME/services.json, and the lock that guards changes to it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from nucleate.client.files.output_files import write_file
from nucleate.client.local.processes import identity
from nucleate.errors import Precondition


@dataclass
class ServiceRecord:
    """One service's port, kept over restarts, and its process; pid 0 = never started or stopped."""

    port: int
    pid: int = 0
    identity: str = ""
    version: str = ""
    python: str = ""

    @property
    def alive(self) -> bool:
        """The process that was started is still there, and not another of its pid."""
        return self.pid > 0 and identity(self.pid) == self.identity


@dataclass
class ProcessRegistry:
    """The services of an installation. `kept`: a person asked for it with `nucleate up`, so no other command stops it."""

    store: str
    kept: bool = False
    services: dict[str, ServiceRecord] = field(default_factory=dict)

    @property
    def endpoints(self) -> dict[str, str]:
        """Where each known service listens when it runs."""
        return {name: f"127.0.0.1:{record.port}" for name, record in self.services.items()}

    @property
    def running(self) -> dict[str, ServiceRecord]:
        """The services whose process is alive."""
        return {name: record for name, record in self.services.items() if record.alive}


def load_registry(home: Path) -> ProcessRegistry | None:
    """Read HOME/services.json; None if there is none. Raises `Precondition` if it is damaged."""
    path = home / "services.json"
    try:
        data = json.loads(path.read_bytes())
        records = {name: ServiceRecord(**record) for name, record in data["services"].items()}
        return ProcessRegistry(store=data["store"], kept=data["kept"], services=records)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise Precondition(f"{path} is damaged: stop nucleate's processes and remove it") from None


def save_registry(home: Path, registry: ProcessRegistry) -> None:
    """Write HOME/services.json, whole."""
    write_file(home / "services.json", json.dumps(asdict(registry), indent=2).encode())


@contextlib.contextmanager
def registry_lock(home: Path) -> Iterator[None]:
    """Let one command at a time start or stop services; the lock goes with its process, however that ends."""
    try:
        home.mkdir(parents=True, exist_ok=True)
        handle = os.open(home / "services.lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as failure:
        raise Precondition(f"cannot write {home}: {failure.strerror}; set NUCLEATE_HOME to a folder of yours") from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise Precondition(f"another nucleate command is starting or stopping services in {home}: wait for it") from None
    try:
        yield
    finally:
        os.close(handle)

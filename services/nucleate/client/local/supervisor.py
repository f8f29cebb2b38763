"""Starts, finds and stops the services of one installation folder."""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path

from nucleate.client.local.health import serving
from nucleate.client.local.installation import SERVICES, endpoint_variable, module_of
from nucleate.client.local.ports import HOST, free_ports, is_free, wait_until_free
from nucleate.client.local.process_registry import ProcessRegistry, ServiceRecord, load_registry, registry_lock, save_registry
from nucleate.client.local.processes import identity, last_log_line, spawn, stop
from nucleate.errors import Precondition
from nucleate.runtime.settings import ChannelSettings

START_SECONDS = 300.0
#: What a service may take after its own drain time before it is killed.
STOP_MARGIN_S = 3.0
#: What a killed service may take to give its port back.
PORT_TIMEOUT_S = 10.0

#: Called with (service, "running" | "starting" | "ready" | "stopped" | "killed").
Notify = Callable[[str, str], None]


class Supervisor:
    """The services that run out of one `home` folder: logs, process registry and, by default, the store lie there."""

    def __init__(self, home: Path, *, store: str = "", drain_s: float | None = None) -> None:
        self.home = home.absolute()
        self.store = store or os.environ.get("NUCLEATE_STORE") or (self.home / "store").as_uri()
        self.drain_s = float(os.environ.get("NUCLEATE_DRAIN_SECONDS", "10")) if drain_s is None else drain_s
        self.version = version("nucleate")

    def log(self, service: str) -> Path:
        """Return where a service logs."""
        return self.home / "logs" / f"{service}.log"

    def up(
        self, notify: Notify, services: Iterable[str] = SERVICES, *, base_port: int = 0, kept: bool = True
    ) -> ProcessRegistry:
        """Start those of `services` that do not run, all at once, and wait until every one serves.

        Raises:
            Precondition: a port is taken, a service ended while starting, the services run with another store, or they would
            speak TLS to a command that speaks plain text.
        """
        wanted = list(services)
        check_installed(wanted)
        _check_tls_settings()
        with registry_lock(self.home):
            registry = load_registry(self.home) or ProcessRegistry(self.store)
            self._check_store(registry)
            self._assign_ports(registry, wanted, base_port)
            self._stop_outdated(registry, wanted, notify)
            missing = [name for name in wanted if name not in registry.running]
            self._check_ports_free(registry, missing)
            registry.kept = registry.kept or kept
            offsets = {name: _size(self.log(name)) for name in missing}
            for name in wanted:
                notify(name, "starting" if name in missing else "running")
            for name in missing:
                self._start(registry, name)
            self._await(registry, wanted, offsets, notify)
            return registry

    def down(self, notify: Notify) -> list[str]:
        """Stop every service that runs: SIGTERM, then SIGKILL after the drain time. Returns their names."""
        if load_registry(self.home) is None:
            return []
        with registry_lock(self.home):
            registry = load_registry(self.home) or ProcessRegistry(self.store)
            running = registry.running
            self._stop(running, notify)
            registry.kept = False
            save_registry(self.home, registry)
            return list(running)

    def crash_report(self) -> str:
        """Name the started services that have ended by themselves, with the last line of their logs; "" if none has."""
        registry = load_registry(self.home)
        crashed = [name for name, record in (registry.services if registry else {}).items() if record.pid and not record.alive]
        return "".join(f"; {name} ended: {last_log_line(self.log(name), 0) or 'it logged nothing'}" for name in crashed)

    def _stop(self, records: dict[str, ServiceRecord], notify: Notify) -> None:
        killed = stop({record.pid: record.identity for record in records.values()}, self.drain_s + STOP_MARGIN_S)
        for name, record in records.items():
            notify(name, "killed" if record.pid in killed else "stopped")
            record.pid, record.identity = 0, ""

    def _check_store(self, registry: ProcessRegistry) -> None:
        if registry.running and registry.store != self.store:
            raise Precondition(f"services run with store {registry.store}, not {self.store}: run `nucleate down` first")
        registry.store = self.store

    def _assign_ports(self, registry: ProcessRegistry, wanted: list[str], base_port: int) -> None:
        running = registry.running
        if base_port:
            fixed = {name: base_port + index for index, name in enumerate(SERVICES)}
            moved = [name for name, record in running.items() if record.port != fixed[name]]
            if moved:
                raise Precondition(
                    f"{', '.join(moved)} run on other ports than --base-port {base_port}: run `nucleate down` first"
                )
            registry.services |= {name: ServiceRecord(port) for name, port in fixed.items() if name not in running}
            return
        if not running and not all(is_free(registry.services[name].port) for name in wanted if name in registry.services):
            registry.services = {}  # nobody holds the old endpoints any more
        # Every service gets a port, also one that is not wanted yet: its peers learn where it will be.
        without_port = [name for name in SERVICES if name not in registry.services]
        taken = {record.port for record in registry.services.values()}
        registry.services |= {
            name: ServiceRecord(port)
            for name, port in zip(without_port, free_ports(len(without_port), self.home, taken), strict=True)
        }

    def _stop_outdated(self, registry: ProcessRegistry, wanted: list[str], notify: Notify) -> None:
        """Stop what another version or another Python started."""
        current = (self.version, sys.prefix)
        self._stop(
            {
                name: each
                for name, each in registry.running.items()
                if name in wanted and (each.version, each.python) != current
            },
            notify,
        )

    def _check_ports_free(self, registry: ProcessRegistry, missing: list[str]) -> None:
        for name in missing:
            port, ours = registry.services[name].port, bool(registry.services[name].pid)
            if not wait_until_free(port, PORT_TIMEOUT_S if ours else 0.0):
                raise Precondition(
                    f"port {port} for {name} is taken by another program: stop that, or choose another --base-port"
                )

    def _start(self, registry: ProcessRegistry, name: str) -> None:
        record = registry.services[name]
        process = spawn([sys.executable, "-m", module_of(name)], self._environment(registry, record), self.log(name))
        record.pid, record.identity = process.pid, identity(process.pid)
        record.version, record.python = self.version, sys.prefix
        save_registry(self.home, registry)  # at once: a killed `up` must leave no process that nobody knows

    def _environment(self, registry: ProcessRegistry, record: ServiceRecord) -> dict[str, str]:
        unset = {"NUCLEATE_PORT_FILE", "NUCLEATE_METRICS_PORT"}
        return {
            **{name: value for name, value in os.environ.items() if name not in unset},
            # Threads that wait by spinning slow a training down seventyfold where the cores have other work, too.
            "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE"),
            **({"NUCLEATE_CURVES": str(self.home / "curves")} if _writes_curves() else {}),
            "NUCLEATE_HOME": str(self.home),
            "NUCLEATE_STORE": registry.store,
            "NUCLEATE_DRAIN_SECONDS": str(self.drain_s),
            "NUCLEATE_HOST": HOST,
            "NUCLEATE_PORT": str(record.port),
            **{endpoint_variable(name): endpoint for name, endpoint in registry.endpoints.items()},
        }

    def _await(self, registry: ProcessRegistry, wanted: list[str], offsets: dict[str, int], notify: Notify) -> None:
        waiting, deadline = set(wanted), time.monotonic() + START_SECONDS
        while waiting:
            for name in sorted(waiting):
                if serving(registry.endpoints[name]):
                    waiting.discard(name)
                    if name in offsets:
                        notify(name, "ready")
                elif not registry.services[name].alive and name in offsets:
                    raise Precondition(self._startup_failure(name, offsets[name]))
                elif not registry.services[name].alive:  # killed a moment ago, it was still there when we looked
                    notify(name, "starting")
                    offsets[name] = _size(self.log(name))
                    self._start(registry, name)
            if waiting and time.monotonic() > deadline:
                raise Precondition(
                    f"{', '.join(sorted(waiting))} did not answer within {START_SECONDS:.0f} s: see {self.home / 'logs'}"
                )
            time.sleep(0.1 if waiting else 0)

    def _startup_failure(self, name: str, offset: int) -> str:
        line = last_log_line(self.log(name), offset)
        return f"{name} ended while starting{f': {line}' if line else ''} (log: {self.log(name)})"


def check_installed(services: Iterable[str]) -> None:
    """Raise `Precondition` if this Python lacks a service or what all of them need."""
    missing = [name for name in services if importlib.util.find_spec(module_of(name)) is None]
    if missing:
        raise Precondition(f"not installed: {', '.join(missing)}; install nucleate[cpu], or nucleate[gpu]")
    needs = [name for name in ("numpy", "torch", "dbos") if importlib.util.find_spec(name) is None]
    if needs:
        raise Precondition(f"the services need {', '.join(needs)}: install nucleate[cpu], or nucleate[gpu]")


def _check_tls_settings() -> None:
    """Raise at once what would otherwise be a wait for services that never answer."""
    settings = ChannelSettings()
    if os.environ.get("NUCLEATE_TLS_CERT") and not (settings.tls or settings.tls_ca):
        raise Precondition("NUCLEATE_TLS_CERT is set but not NUCLEATE_TLS_CA: set it, so that the services can be called, too")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _writes_curves() -> bool:
    """Whether services that are started here can write TensorBoard files, and nobody has said where."""
    return not os.environ.get("NUCLEATE_CURVES") and importlib.util.find_spec("tensorboardX") is not None

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
from nucleate.client.local.ports import HOST, free_ports, freed, is_free
from nucleate.client.local.process_registry import ServiceRecord, State, load_state, locked, save_state
from nucleate.client.local.processes import identity, last_words, spawn, stop
from nucleate.errors import Precondition
from nucleate.runtime.settings import ChannelSettings

START_SECONDS = 300.0
#: What a service may take after its own drain time before it is killed.
STOP_MARGIN_S = 3.0
#: What a killed service may take to give its port back.
PORT_PATIENCE_S = 10.0

#: Told (service, "running" | "starting" | "ready" | "stopped" | "killed").
Notify = Callable[[str, str], None]


class Supervisor:
    """The services that run out of one `home` folder: logs, state and, by default, the store live there."""

    def __init__(self, home: Path, *, store: str = "", drain_s: float | None = None) -> None:
        self.home = home.absolute()
        self.store = store or os.environ.get("NUCLEATE_STORE") or (self.home / "store").as_uri()
        self.drain_s = float(os.environ.get("NUCLEATE_DRAIN_SECONDS", "10")) if drain_s is None else drain_s
        self.version = version("nucleate")

    def log(self, service: str) -> Path:
        """Return where a service logs."""
        return self.home / "logs" / f"{service}.log"

    def up(self, notify: Notify, services: Iterable[str] = SERVICES, *, base_port: int = 0, kept: bool = True) -> State:
        """Start those of `services` that do not run, all at once, and wait until every one serves.

        Raises:
            Precondition: a port is taken, a service ended while starting, the services run with another store, or they would
            speak TLS to a command that speaks plain text.
        """
        wanted = list(services)
        check_installed(wanted)
        _check_callable()
        with locked(self.home):
            state = load_state(self.home) or State(self.store)
            self._check_store(state)
            self._assign_ports(state, wanted, base_port)
            self._retire(state, wanted, notify)
            missing = [name for name in wanted if name not in state.running]
            self._check_ports_free(state, missing)
            state.kept = state.kept or kept
            offsets = {name: _size(self.log(name)) for name in missing}
            for name in wanted:
                notify(name, "starting" if name in missing else "running")
            for name in missing:
                self._start(state, name)
            self._await(state, wanted, offsets, notify)
            return state

    def down(self, notify: Notify) -> list[str]:
        """Stop every service that runs: SIGTERM, then SIGKILL after the drain time. Returns their names."""
        if load_state(self.home) is None:
            return []
        with locked(self.home):
            state = load_state(self.home) or State(self.store)
            running = state.running
            self._stop(running, notify)
            state.kept = False
            save_state(self.home, state)
            return list(running)

    def epitaph(self) -> str:
        """Say which of the started services have ended by themselves, and their last words; "" if none has."""
        state = load_state(self.home)
        dead = [name for name, record in (state.services if state else {}).items() if record.pid and not record.alive]
        return "".join(f"; {name} ended: {last_words(self.log(name), 0) or 'it logged nothing'}" for name in dead)

    def _stop(self, records: dict[str, ServiceRecord], notify: Notify) -> None:
        killed = stop({record.pid: record.identity for record in records.values()}, self.drain_s + STOP_MARGIN_S)
        for name, record in records.items():
            notify(name, "killed" if record.pid in killed else "stopped")
            record.pid, record.identity = 0, ""

    def _check_store(self, state: State) -> None:
        if state.running and state.store != self.store:
            raise Precondition(f"services run with store {state.store}, not {self.store}: run `nucleate down` first")
        state.store = self.store

    def _assign_ports(self, state: State, wanted: list[str], base_port: int) -> None:
        running = state.running
        if base_port:
            fixed = {name: base_port + index for index, name in enumerate(SERVICES)}
            moved = [name for name, record in running.items() if record.port != fixed[name]]
            if moved:
                raise Precondition(
                    f"{', '.join(moved)} run on other ports than --base-port {base_port}: run `nucleate down` first"
                )
            state.services |= {name: ServiceRecord(port) for name, port in fixed.items() if name not in running}
            return
        if not running and not all(is_free(state.services[name].port) for name in wanted if name in state.services):
            state.services = {}  # nobody holds the old endpoints any more
        # Every service gets a port, also one that is not wanted yet: its peers learn where it will be.
        unplaced = [name for name in SERVICES if name not in state.services]
        taken = {record.port for record in state.services.values()}
        state.services |= {
            name: ServiceRecord(port) for name, port in zip(unplaced, free_ports(len(unplaced), self.home, taken), strict=True)
        }

    def _retire(self, state: State, wanted: list[str], notify: Notify) -> None:
        """Stop what another version or another Python started."""
        mine = (self.version, sys.prefix)
        self._stop(
            {name: each for name, each in state.running.items() if name in wanted and (each.version, each.python) != mine},
            notify,
        )

    def _check_ports_free(self, state: State, missing: list[str]) -> None:
        for name in missing:
            port, ours = state.services[name].port, bool(state.services[name].pid)
            if not freed(port, PORT_PATIENCE_S if ours else 0.0):
                raise Precondition(
                    f"port {port} for {name} is taken by another program: stop that, or choose another --base-port"
                )

    def _start(self, state: State, name: str) -> None:
        record = state.services[name]
        process = spawn([sys.executable, "-m", module_of(name)], self._environment(state, record), self.log(name))
        record.pid, record.identity = process.pid, identity(process.pid)
        record.version, record.python = self.version, sys.prefix
        save_state(self.home, state)  # at once: a killed `up` must leave no process that nobody knows

    def _environment(self, state: State, record: ServiceRecord) -> dict[str, str]:
        unset = {"NUCLEATE_PORT_FILE", "NUCLEATE_METRICS_PORT"}
        return {
            **{name: value for name, value in os.environ.items() if name not in unset},
            # Threads that wait by spinning slow a training down seventyfold where the cores have other work, too.
            "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE"),
            **({"NUCLEATE_CURVES": str(self.home / "curves")} if _draws_curves() else {}),
            "NUCLEATE_HOME": str(self.home),
            "NUCLEATE_STORE": state.store,
            "NUCLEATE_DRAIN_SECONDS": str(self.drain_s),
            "NUCLEATE_HOST": HOST,
            "NUCLEATE_PORT": str(record.port),
            **{endpoint_variable(name): endpoint for name, endpoint in state.endpoints.items()},
        }

    def _await(self, state: State, wanted: list[str], offsets: dict[str, int], notify: Notify) -> None:
        waiting, deadline = set(wanted), time.monotonic() + START_SECONDS
        while waiting:
            for name in sorted(waiting):
                if serving(state.endpoints[name]):
                    waiting.discard(name)
                    if name in offsets:
                        notify(name, "ready")
                elif not state.services[name].alive and name in offsets:
                    raise Precondition(self._obituary(name, offsets[name]))
                elif not state.services[name].alive:  # killed a moment ago, it was still there when we looked
                    notify(name, "starting")
                    offsets[name] = _size(self.log(name))
                    self._start(state, name)
            if waiting and time.monotonic() > deadline:
                raise Precondition(
                    f"{', '.join(sorted(waiting))} did not answer within {START_SECONDS:.0f} s: see {self.home / 'logs'}"
                )
            time.sleep(0.1 if waiting else 0)

    def _obituary(self, name: str, offset: int) -> str:
        words = last_words(self.log(name), offset)
        return f"{name} ended while starting{f': {words}' if words else ''} (log: {self.log(name)})"


def check_installed(services: Iterable[str]) -> None:
    """Raise `Precondition` if this Python lacks a service or what all of them need."""
    missing = [name for name in services if importlib.util.find_spec(module_of(name)) is None]
    if missing:
        raise Precondition(f"not installed: {', '.join(missing)}; install nucleate[cpu], or nucleate[gpu]")
    needs = [name for name in ("numpy", "torch", "dbos") if importlib.util.find_spec(name) is None]
    if needs:
        raise Precondition(f"the services need {', '.join(needs)}: install nucleate[cpu], or nucleate[gpu]")


def _check_callable() -> None:
    """Raise at once what would otherwise be a wait for services that never answer."""
    settings = ChannelSettings()
    if os.environ.get("NUCLEATE_TLS_CERT") and not (settings.tls or settings.tls_ca):
        raise Precondition("NUCLEATE_TLS_CERT is set but not NUCLEATE_TLS_CA: set it, so that the services can be called, too")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _draws_curves() -> bool:
    """Whether services that are started here can write TensorBoard files, and nobody has said where."""
    return not os.environ.get("NUCLEATE_CURVES") and importlib.util.find_spec("tensorboardX") is not None

"""Lifecycle of a service's process: start, write the port file, wait for a signal, drain."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, Protocol, TypeVar

import structlog

from nucleate.errors import NucleateError
from nucleate.runtime.error_table import exit_code
from nucleate.runtime.settings import ServiceSettings
from nucleate.runtime.telemetry import configure_logging

EXIT_SECONDS = 30.0
S = TypeVar("S", bound=ServiceSettings)


class Stoppable(Protocol):
    """What is served."""

    port: int

    def stop(self) -> bool:
        """Drain and end; False if some work would not."""


def read_settings(name: str, kind: Callable[[], S]) -> S:
    """Read a service's settings; what cannot be read ends the process with one line and its exit code."""
    try:
        return kind()
    except NucleateError as error:
        _exit_with_error(name, error)


def serve_until_stopped(name: str, settings: ServiceSettings, start: Callable[[], Stoppable]) -> None:
    """Start, write the port file, wait for SIGTERM or SIGINT, and stop."""
    port_file = _port_file(name, settings)
    configure_logging(settings.log_level, json=settings.log_json)
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    try:
        running = start()
    except NucleateError as error:
        _exit_with_error(name, error)
    if port_file:
        _write_atomically(port_file, f"{running.port}\n")
    stopping.wait()
    structlog.get_logger().info("draining", service=name)
    ended = running.stop()
    structlog.get_logger().info("stopped", service=name, ended=ended)
    if not ended:
        os._exit(0)  # its thread is deep in native code, which crashes when the interpreter goes away under it
    _exit_within(EXIT_SECONDS)


def _exit_with_error(name: str, error: NucleateError) -> NoReturn:
    sys.stderr.write(f"nucleate {name}: {error}\n")
    sys.exit(exit_code(error))


def _exit_within(seconds: float) -> None:
    """End the process for good if a call that is stuck keeps its thread, and so the interpreter, from ending."""
    timer = threading.Timer(seconds, os._exit, (0,))
    timer.daemon = True
    timer.start()


def _port_file(name: str, settings: ServiceSettings) -> Path | None:
    parser = argparse.ArgumentParser(prog=f"python -m nucleate.{name}", description="Settings come from NUCLEATE_* variables.")
    parser.add_argument("--port-file", type=Path, default=settings.port_file, help="write the bound port here once serving")
    path: Path | None = parser.parse_args().port_file
    return path


def _write_atomically(path: Path, text: str) -> None:
    """Write so that a reader sees all of it or no file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(text)
    partial.replace(path)

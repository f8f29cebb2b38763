"""Ports for services: free ones, taken from below the range that the system gives to outgoing connections."""

from __future__ import annotations

import socket
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

from nucleate.errors import Precondition

HOST = "127.0.0.1"
_FIRST, _LAST = 20_000, 32_000


def is_free(port: int) -> bool:
    """Tell whether a server could listen on that port of the loopback address."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def wait_until_free(port: int, timeout_s: float) -> bool:
    """Tell whether a port is free, or becomes so: a killed process holds its own until the last of its threads is gone."""
    deadline = time.monotonic() + timeout_s
    while not (free := is_free(port)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return free


def free_ports(count: int, home: Path, taken: set[int]) -> list[int]:
    """Return `count` free ports, always looked for from the same place for the same `home`."""
    found = [port for port, _ in zip(_candidates(home, taken), range(count), strict=False)]
    if len(found) < count:
        raise Precondition(f"no {count} free ports between {_FIRST} and {_LAST}: stop other programs")
    return found


def _candidates(home: Path, taken: set[int]) -> Iterator[int]:
    start = zlib.crc32(str(home).encode()) % (_LAST - _FIRST)
    for step in range(_LAST - _FIRST):
        port = _FIRST + (start + step) % (_LAST - _FIRST)
        if port not in taken and is_free(port):
            yield port

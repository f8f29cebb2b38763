"""Who works on a job, and whether that process still lives."""

from __future__ import annotations

import os
import socket
import uuid
from dataclasses import dataclass
from pathlib import Path

# An owner not heard of for this long is taken for dead: the clocks of machines that share a store must agree to a few seconds.
LEASE_SECONDS = 20.0


@dataclass(frozen=True)
class Owner:
    """One runner in one process. `machine` spans what can see each other's process ids, so a container is its own."""

    machine: str
    pid: int
    started: str
    instance: str

    @classmethod
    def this_process(cls) -> Owner:
        """Describe this process, with a new instance id."""
        pid = os.getpid()
        return cls(_machine(), pid, _start_time(pid), uuid.uuid4().hex)

    def alive(self, silence_seconds: float) -> bool:
        """Tell whether this owner may still be at work, last heard of `silence_seconds` ago."""
        if silence_seconds > LEASE_SECONDS:
            return False
        return self.machine != _machine() or _start_time(self.pid) == self.started


def _machine() -> str:
    try:
        namespace = Path("/proc/self/ns/pid").readlink().name
    except OSError:
        namespace = ""
    return f"{socket.gethostname()}/{namespace}"


def _start_time(pid: int) -> str:
    """Return when the process started, which tells a reused process id from the old one; empty if there is none."""
    try:
        # The command name in field 2 may hold spaces and brackets; the start time is field 22.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return "" if Path("/proc/self/stat").exists() else _alive_by_signal(pid)


def _alive_by_signal(pid: int) -> str:
    """Stand in for the start time where there is no /proc."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        pass
    return "alive"

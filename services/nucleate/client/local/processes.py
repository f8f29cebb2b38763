"""Processes that outlive the command that started them, recognised again by pid and start time."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

LOG_LIMIT = 20 << 20


def identity(pid: int) -> str:
    """Return what tells this process from a later one of the same pid; "" if it is gone or a zombie.

    On Linux the boot id and the start time in clock ticks (proc(5), field 22); elsewhere what ps says of its start.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except FileNotFoundError:
        return "" if Path("/proc/self/stat").exists() else _identity_by_ps(pid)
    except ProcessLookupError:
        return ""
    return "" if fields[0] in "ZX" else f"{boot}:{fields[19]}"


def _identity_by_ps(pid: int) -> str:
    done = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)  # noqa: S603, S607
    state, _, started = done.stdout.strip().partition(" ")
    return "" if state.startswith("Z") else started.strip()


def spawn(command: list[str], environment: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    """Start a command in its own session, with both outputs appended to `log`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > LOG_LIMIT:
        log.replace(log.with_suffix(".log.1"))
    with log.open("ab") as output:
        return subprocess.Popen(  # noqa: S603 - the command is this Python with one of our modules
            command, env=dict(environment), stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )


def stop(running: Mapping[int, str], drain_s: float) -> set[int]:
    """Ask the processes {pid: identity} to end and wait `drain_s` seconds; kill those left, with their children.

    Returns the pids that had to be killed. A pid that meanwhile belongs to another process is left alone.
    """
    left = {pid for pid in running if _signal(pid, running[pid], signal.SIGTERM)}
    deadline = time.monotonic() + drain_s
    while left and time.monotonic() < deadline:
        time.sleep(0.05)
        left = {pid for pid in left if _alive(pid, running[pid])}
    killed = {pid for pid in left if _signal(pid, running[pid], signal.SIGKILL)}
    while any(_alive(pid, running[pid]) for pid in killed):
        time.sleep(0.02)
    return killed


def _alive(pid: int, known: str) -> bool:
    with contextlib.suppress(ChildProcessError):  # only the parent can, and must, reap it
        os.waitpid(pid, os.WNOHANG)
    return identity(pid) == known


def _signal(pid: int, known: str, number: signal.Signals) -> bool:
    """Signal the process, or for SIGKILL its whole group; False if it is gone."""
    if not _alive(pid, known):
        return False
    try:
        (os.killpg if number is signal.SIGKILL else os.kill)(pid, number)
    except ProcessLookupError:
        return False
    return True


def last_log_line(log: Path, offset: int) -> str:
    """Return the last line that was logged after `offset` bytes, of a JSON line its event and error; "" if none."""
    try:
        with log.open("rb") as file:
            file.seek(offset)
            lines = file.read().decode(errors="replace").splitlines()
    except FileNotFoundError:
        return ""
    line = next((line.strip() for line in reversed(lines) if line.strip()), "")
    try:
        entry = dict(json.loads(line))
    except (ValueError, TypeError):
        return line
    return " ".join(str(entry[key]) for key in ("event", "error") if entry.get(key))

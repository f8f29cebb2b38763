"""Processes are recognised by more than their pid, ports are kept, and damage is told."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nucleate.client.local.ports import HOST, free_ports, is_free
from nucleate.client.local.process_registry import ProcessRegistry, ServiceRecord, load_registry, registry_lock, save_registry
from nucleate.client.local.processes import identity, last_log_line, spawn, stop
from nucleate.errors import Precondition

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)"


def test_state_goes_to_disk_and_back(tmp_path: Path):
    registry = ProcessRegistry(
        "file:///x", kept=True, services={"hovernet": ServiceRecord(20_001, os.getpid(), identity(os.getpid()))}
    )
    save_registry(tmp_path, registry)
    assert load_registry(tmp_path) == registry
    assert list(registry.running) == ["hovernet"]
    assert registry.endpoints == {"hovernet": "127.0.0.1:20001"}


def test_a_recycled_pid_is_not_our_process():
    assert not ServiceRecord(20_001, os.getpid(), "another start").alive
    assert not ServiceRecord(20_001).alive


def test_a_zombie_is_not_alive():
    process = subprocess.Popen([sys.executable, "-c", ""])
    deadline = time.monotonic() + 20
    while identity(process.pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert identity(process.pid) == ""
    process.wait()


@pytest.mark.parametrize("text", ["{", "[]", '{"store": 1}', '{"store": "", "kept": true, "services": {"a": {"x": 1}}}'])
def test_a_damaged_state_file_is_told(tmp_path: Path, text: str):
    (tmp_path / "services.json").write_text(text)
    with pytest.raises(Precondition, match="is damaged"):
        load_registry(tmp_path)


def test_one_command_at_a_time(tmp_path: Path):
    with registry_lock(tmp_path), pytest.raises(Precondition, match="wait for it"), registry_lock(tmp_path):
        pass
    with registry_lock(tmp_path):
        pass


def test_ports_are_found_from_the_same_place_and_not_twice(tmp_path: Path):
    first, *rest = free_ports(3, tmp_path, set())
    assert len({first, *rest}) == 3
    with socket.create_server((HOST, first)):
        assert not is_free(first)
        assert first not in free_ports(3, tmp_path, set())
    assert free_ports(1, tmp_path, {first}) != [first]


def test_a_process_that_ignores_the_request_is_killed(tmp_path: Path):
    log = tmp_path / "logs" / "stubborn.log"
    process = spawn([sys.executable, "-c", STUBBORN], os.environ, log)
    deadline = time.monotonic() + 20
    while last_log_line(log, 0) != "ready" and time.monotonic() < deadline:
        time.sleep(0.01)
    known = identity(process.pid)
    assert stop({process.pid: "somebody else"}, 0.0) == set()
    assert identity(process.pid) == known
    assert stop({process.pid: known}, 0.2) == {process.pid}
    assert identity(process.pid) == ""
    process.returncode = 0  # `stop` has reaped it


def test_last_words(tmp_path: Path):
    log = tmp_path / "x.log"
    log.write_bytes(b'old\nTraceback\nValueError: bad\n\n{"event": "draining"}\n')
    assert last_log_line(log, 0) == "draining"
    assert last_log_line(log, log.stat().st_size) == ""
    log.write_bytes(b"ValueError: bad\n\n")
    assert last_log_line(log, 0) == "ValueError: bad"
    assert last_log_line(tmp_path / "none.log", 0) == ""

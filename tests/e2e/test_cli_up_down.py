"""Local services as real processes: started, found again, restarted after kill -9, stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.command import NUCLEATE, environment, error_line, nucleate

from nucleate.client.local.health import serving
from nucleate.client.local.processes import identity

SERVICES = ("orchestrator", "synthesis")


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    home = tmp_path / "home"
    yield home
    nucleate(home, "down")
    assert not any(identity(pid) for pid in pids(home).values())


def services(home: Path) -> dict[str, dict[str, object]]:
    path = home / "services.json"
    return json.loads(path.read_text())["services"] if path.exists() else {}


def pids(home: Path) -> dict[str, int]:
    return {name: int(record["pid"]) for name, record in services(home).items() if record["pid"]}


def endpoints(stdout: str) -> dict[str, str]:
    return dict(line.split() for line in stdout.splitlines())


def test_up_kill_up_down(home: Path):
    done = nucleate(home, "up", *SERVICES)
    assert done.returncode == 0, done.stderr
    first, first_pids = endpoints(done.stdout), pids(home)
    assert set(first) == set(SERVICES)
    assert all(serving(endpoint, 5) for endpoint in first.values())

    again = nucleate(home, "up", *SERVICES)
    assert (again.returncode, endpoints(again.stdout), pids(home)) == (0, first, first_pids)
    assert again.stderr.count("running") == 2

    os.kill(first_pids["synthesis"], signal.SIGKILL)
    healed = nucleate(home, "up", *SERVICES)
    assert (healed.returncode, endpoints(healed.stdout)) == (0, first)
    assert pids(home)["orchestrator"] == first_pids["orchestrator"]
    assert pids(home)["synthesis"] != first_pids["synthesis"]
    assert serving(first["synthesis"], 5)

    listed = nucleate(home, "run", "list", "--json")
    assert (listed.returncode, json.loads(listed.stdout)) == (0, [])
    nothing = nucleate(home, "run", "resume")
    assert "there is no run yet" in error_line(nothing)
    moved = nucleate(home, "up", *SERVICES, "--base-port", "21000")
    assert "run `nucleate down` first" in error_line(moved)
    other_store = nucleate(home, "up", *SERVICES, NUCLEATE_STORE=f"file://{home}/elsewhere")
    assert "run `nucleate down` first" in error_line(other_store)
    assert (moved.returncode, other_store.returncode) == (5, 5)

    running = pids(home)
    stopped = nucleate(home, "down")
    assert stopped.returncode == 0
    assert not any(identity(pid) for pid in running.values())
    assert pids(home) == {}


def test_a_service_that_dies_at_its_start_tells_its_last_words_and_its_log(home: Path):
    done = nucleate(home, "up", "synthesis", NUCLEATE_LOG_LEVEL="shouting")
    line = error_line(done)
    assert "synthesis ended while starting: " in line
    assert str(home / "logs" / "synthesis.log") in line
    assert done.returncode == 5


def test_a_recycled_pid_is_neither_waited_for_nor_killed(home: Path):
    """After a reboot the recorded pid may be anybody's."""
    bystander = subprocess.Popen(["sleep", "300"])
    home.mkdir()
    record = {"port": 20_999, "pid": bystander.pid, "identity": "an-earlier-boot:1", "version": "0.1.0", "python": ""}
    state = {"store": f"file://{home}/store", "kept": True, "services": {"synthesis": record}}
    (home / "services.json").write_text(json.dumps(state))
    assert nucleate(home, "down").returncode == 0
    assert bystander.poll() is None
    done = nucleate(home, "up", "synthesis")
    assert done.returncode == 0, done.stderr
    assert pids(home)["synthesis"] != bystander.pid
    assert bystander.poll() is None
    bystander.kill()
    bystander.wait()


def test_two_ups_at_once_start_nothing_twice(home: Path):
    command = [str(NUCLEATE), "up", "synthesis"]
    both = [
        subprocess.Popen(
            command, env=environment(home), cwd=home.parent, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    results = [(process.communicate(timeout=240), process.returncode) for process in both]
    codes = sorted(code for _, code in results)
    assert codes in ([0, 0], [0, 5])
    if codes == [0, 5]:
        assert any("wait for it" in stderr for (_, stderr), code in results if code == 5)
    assert len(pids(home)) == 1

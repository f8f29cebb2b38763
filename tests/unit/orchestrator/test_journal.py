"""The journal over SQLite with real processes that are killed -9 in the middle."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from nucleate.errors import Precondition
from nucleate.orchestrator.loop.journal import Interrupted, Journal

# Each step appends its name to a log; the process kills itself inside the step named by $DIE, or fails in $FAIL.
SCRIPT = """
import os, signal, sys, time
from pathlib import Path
from nucleate.orchestrator.loop.journal import Journal
home = Path(sys.argv[1])
journal = Journal(f"sqlite:///{home}/orchestrator.sqlite")

def work(name):
    with (home / "log").open("a") as log:
        log.write(name + " ")
    if os.environ.get("DIE") == name:
        os.kill(os.getpid(), signal.SIGKILL)
    if os.environ.get("FAIL") == name:
        raise ValueError(f"{name} went wrong")
    return {"name": name}

def body(run_id):
    for name in ("one", "two", "three", "four"):
        assert journal.step(name, lambda: work(name)) == {"name": name}

journal.launch(body)
getattr(journal, sys.argv[2])("r")
while (status := journal.status("r")).state == "running":
    time.sleep(0.02)
print(status.state, status.error, [entry.name for entry in journal.entries("r")], sep="|")
journal.close()
"""


def run(home: Path, action: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", SCRIPT, str(home), action]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=120, check=False)


def test_finished_steps_are_never_run_again(tmp_path) -> None:
    assert run(tmp_path, "start", DIE="three").returncode == -signal.SIGKILL
    # Recovered by launching alone: asking for the status starts nothing.
    failed = run(tmp_path, "status", FAIL="four")
    assert failed.stdout.strip() == "failed|four went wrong|['one', 'two', 'three', 'four']"
    assert "Traceback" not in failed.stderr
    done = run(tmp_path, "resume")
    assert done.stdout.strip() == "done||['one', 'two', 'three', 'four']"
    assert (tmp_path / "log").read_text().split() == ["one", "two", "three", "three", "four", "four"]
    # Nothing pickled: the database is plain text and JSON.
    assert b"\x80\x04" not in (tmp_path / "orchestrator.sqlite").read_bytes()


def test_one_process_per_database_and_an_interrupted_step_leaves_no_trace(tmp_path) -> None:
    url = f"sqlite:///{tmp_path}/orchestrator.sqlite"
    left = []

    def interrupted() -> None:
        left.append(True)
        raise Interrupted

    journal = Journal(url)
    journal.launch(lambda _run: journal.step("only", interrupted))
    try:
        with pytest.raises(Precondition, match=rf"process {os.getpid()}.*nucleate down.*NUCLEATE_HOME"):
            Journal(url)
        journal.start("r")
        while not left:
            os.sched_yield()
        assert journal.status("r").state == "running"
        assert journal.entries("r") == []
        assert journal.status("unknown") is None
    finally:
        journal.close()
    Journal(url).close()

"""A service's process: killed and resumed, terminated, or refused at its start."""

from __future__ import annotations

import json
import signal
import socket
from pathlib import Path

import pytest
from tests.contract.runtime.counting_service import Process, Train

from nucleate import errors
from nucleate.runtime.channels import follow
from nucleate.runtime.store import FolderStore


class TestProcess:
    def test_killed_in_the_middle_of_a_job_then_resumed_then_terminated(self, tmp_path: Path) -> None:
        request = Train(job_id="survivor", seed=60)
        victim = Process(tmp_path)
        channel, stub = victim.client()
        stream = follow(stub.Train, request)
        while next(stream).progress.step < 5:
            pass
        assert victim.end(signal.SIGKILL)[0] == -signal.SIGKILL
        with pytest.raises(errors.Unreachable):
            list(stream)
        channel.close()
        reached = int(FolderStore(tmp_path / "store").get("jobs/counting/survivor/checkpoint"))

        heir = Process(tmp_path)
        channel, stub = heir.client()
        messages = list(follow(stub.Train, request))
        assert messages[0].progress.resumed
        assert messages[-1].result.metrics == {"first": reached, "last": 60}
        channel.close()
        code, log = heir.end(signal.SIGTERM)
        assert code == 0
        assert [json.loads(line)["event"] for line in log.splitlines()][-2:] == ["draining", "stopped"]

    def test_a_step_that_would_not_end_does_not_keep_the_process(self, tmp_path: Path) -> None:
        process = Process(tmp_path, NUCLEATE_DRAIN_SECONDS="0.2")
        channel, stub = process.client()
        stream = follow(stub.Train, Train(job_id="stuck", seed=5, profile="stuck"))
        while next(stream).progress.step < 1:
            pass
        code, log = process.end(signal.SIGINT)
        assert (code, json.loads(log.splitlines()[-1])["ended"]) == (0, False)
        channel.close()
        state = json.loads(FolderStore(tmp_path / "store").get("jobs/counting/stuck/attempts/000001/state"))
        assert state["job"]["state"] == "JOB_STATE_INTERRUPTED"

    def test_what_cannot_start_says_so_in_one_line(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = str(taken.getsockname()[1])
            processes = [
                (5, f"port 127.0.0.1:{port} cannot be used", Process(tmp_path, NUCLEATE_PORT=port)),
                (5, f"metrics port 127.0.0.1:{port} cannot be used", Process(tmp_path, NUCLEATE_METRICS_PORT=port)),
                (2, "store 'nonsense' is not understood", Process(tmp_path, NUCLEATE_STORE="nonsense")),
            ]
            for wanted, message, process in processes:
                code, log = process.end()
                assert (code, len(log.splitlines())) == (wanted, 1), log
                assert message in log

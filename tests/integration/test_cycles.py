"""Whole cycles over the real services as processes, killed -9 in the middle."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nucleate.client.local.process_registry import load_registry
from nucleate.client.local.supervisor import Supervisor
from nucleate.orchestrator.report import SCORES
from nucleate.runtime.blobs import Blobs
from nucleate.runtime.channels import connect
from nucleate.runtime.store import FolderStore
from nucleate.v1 import orchestrator_pb2 as pb
from nucleate.v1 import orchestrator_pb2_grpc as pb_grpc

SERVICES = ("synthesis", "refiner", "interactive", "hovernet", "annotator", "orchestrator")
POOL, EVALUATION = 2, 1


class Installation:
    """All services out of one folder, and a client of the orchestrator."""

    def __init__(self, home: Path) -> None:
        self.supervisor = Supervisor(home, drain_s=2)
        self.blobs = Blobs(FolderStore(home / "store"))

    def up(self) -> pb_grpc.OrchestratorServiceStub:
        registry = self.supervisor.up(lambda *_: None, SERVICES)
        return pb_grpc.OrchestratorServiceStub(connect(registry.endpoints["orchestrator"]))

    def kill(self, *services: str) -> None:
        registry = load_registry(self.supervisor.home)
        for service in services:
            os.kill(registry.services[service].pid, signal.SIGKILL)
        while any(registry.services[service].alive for service in services):
            time.sleep(0.05)

    def plan(self, tissue: Path) -> pb.RunPlan:
        plan = pb.RunPlan(cycles=2, profile="tiny", seed=3, images_name="tissue")
        for index, path in enumerate(sorted((tissue / "images").iterdir())):
            image = self.blobs.put(path.read_bytes(), "image/png")
            mask = self.blobs.put((tissue / "masks" / path.name).read_bytes(), "image/png", sealed=True)
            if index < POOL:
                plan.images.add(id=path.stem, data=image)
                plan.oracle.add(id=path.stem, image=image, instances=mask)
            else:
                plan.evaluation.add(id=path.stem, image=image, instances=mask)
        return plan


@pytest.fixture(scope="module")
def tissue(tmp_path_factory) -> Path:
    """Procedural H&E-like images with their instance maps."""
    folder = tmp_path_factory.mktemp("tissue")
    sizes = ["--count", str(POOL + EVALUATION), "--size", "256", "--seed", "5", "--out", str(folder)]
    subprocess.run([sys.executable, "-m", "nucleate.synthesis.phantom.tissue", *sizes], check=True, timeout=200)
    return folder


@pytest.fixture
def installation(tmp_path, monkeypatch):
    monkeypatch.setenv("NUCLEATE_THREADS", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    found = Installation(tmp_path)
    yield found
    found.supervisor.down(lambda *_: None)


def until(stub, run_id: str, reached, seconds: float = 240.0) -> pb.Run:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        run = stub.GetRun(pb.GetRunRequest(run_id=run_id), timeout=30).run
        if reached(run) or run.state in (pb.RUN_STATE_DONE, pb.RUN_STATE_FAILED):
            return run
        time.sleep(0.1)
    raise AssertionError(f"the run did not get there: {run}")


def never(_: pb.Run) -> bool:
    return False


def scores(run: pb.Run) -> list[list[float]]:
    return [[getattr(row.scores, key) for key in SCORES] for row in run.rows]


@pytest.mark.timeout(900)
def test_two_real_cycles_give_the_same_scores_whether_killed_or_not(installation, tissue) -> None:
    stub = installation.up()
    plan = installation.plan(tissue)
    stub.StartRun(pb.StartRunRequest(run_id="killed", plan=plan), timeout=30)
    until(stub, "killed", lambda run: run.step == "cycle-1.train-hovernet" and run.progress.step > 0)
    installation.kill("orchestrator", "hovernet")
    stub = installation.up()
    until(stub, "killed", lambda run: run.step == "cycle-2.train-interactive")
    installation.kill(*SERVICES)
    stub = installation.up()
    stub.ResumeRun(pb.ResumeRunRequest(run_id="killed"), timeout=30)
    killed = until(stub, "killed", never)
    assert (killed.state, killed.error) == (pb.RUN_STATE_DONE, "")
    assert [row.name for row in killed.rows] == ["classical", "cycle 1", "cycle 2"]
    assert killed.rows[2].annotated_nuclei > 0
    again = {step.name for step in killed.steps if step.attempts > 1}
    assert again <= {"cycle-1.train-hovernet", "cycle-2.train-interactive", "cycle-2.train-hovernet"}
    assert "cycle-1.train-hovernet" in again

    stub.StartRun(pb.StartRunRequest(run_id="whole", plan=plan), timeout=30)
    whole = until(stub, "whole", never)
    assert all(step.attempts == 1 for step in whole.steps)
    assert scores(whole) == scores(killed)
    assert [(row.clicks, row.annotated_nuclei) for row in whole.rows] == [
        (row.clicks, row.annotated_nuclei) for row in killed.rows
    ]

    report = stub.GetReport(pb.GetReportRequest(run_id="killed"), timeout=60)
    page = installation.blobs.get(report.html).decode()
    assert page.count("data:image/png;base64,") >= 3
    assert [row["name"] for row in json.loads(installation.blobs.get(report.json))["rows"]] == [row.name for row in whole.rows]

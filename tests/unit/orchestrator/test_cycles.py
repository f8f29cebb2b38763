"""The workflow over quick stand-ins: order of steps, what each is asked, retries, waiting for people, cancelling, resuming."""

from __future__ import annotations

import json
import threading

import pytest
from tests.unit.orchestrator.quick_services import a_plan, orchestrator, serve_quick, settings_for, settled, square, watched

from nucleate.dataset.manifest import Dataset
from nucleate.errors import StoreUnreachable
from nucleate.orchestrator.report.collection import report_of
from nucleate.v1 import orchestrator_pb2 as pb

CYCLE_1 = [
    "synthesize",
    "train-refiner",
    "refine",
    "train-interactive",
    "train-hovernet",
    "segment",
    "evaluate",
    "pseudo-label",
    "score-patches",
    "annotate-1",
]
CYCLE_2 = ["synthesize", "refine", "train-interactive", "train-hovernet", "segment", "evaluate"]
TWO_CYCLES = [
    *("classical.segment", "classical.evaluate", "classical.pseudo-label"),
    *(f"cycle-1.{step}" for step in CYCLE_1),
    *(f"cycle-2.{step}" for step in CYCLE_2),
]


@pytest.fixture
def store(tmp_path):
    return (tmp_path / "store").as_uri()


def test_two_cycles_ask_the_services_in_order_and_nothing_sealed_reaches_training(tmp_path, store) -> None:
    server, asked = serve_quick(store)
    with orchestrator(settings_for(tmp_path, server.endpoint)) as running:
        running.start("r", a_plan(running.blobs))
        run = settled(running, "r")
        assert (run.state, run.error, run.cycle) == (pb.RUN_STATE_DONE, "", 2)
        assert [name for name, _ in asked] == TWO_CYCLES
        requests = dict(asked)

        assert [row.name for row in run.rows] == ["classical", "cycle 1", "cycle 2"]
        assert [(row.clicks, row.annotated_nuclei) for row in run.rows] == [(0, 0), (0, 0), (3, 2)]
        assert run.rows[2].scores.pq == pytest.approx(0.5)
        assert all(step.attempts == 1 for step in run.steps)

        first, second = requests["cycle-1.train-hovernet"], requests["cycle-2.train-hovernet"]
        assert not first.HasField("initial")
        assert b"cycle-1.train-hovernet" in running.blobs.get(second.initial.card)
        assert requests["cycle-1.synthesize"].seed != requests["cycle-2.synthesize"].seed
        for name, request in asked:
            if "evaluate" not in name and "annotate" not in name:
                assert b"sealed/" not in request.SerializeToString(), name

        samples = Dataset.from_json(running.blobs.get(second.dataset.manifest)).samples
        assert sorted(sample.origin for sample in samples) == ["accepted", "pseudo", "pseudo", *["refined"] * 3, "synthetic"]
        assert {sample.origin: sample.weight for sample in samples} == {
            "accepted": 2.0,
            "pseudo": 1.0,
            "refined": 0.2,
            "synthetic": 0.2,
        }
        assert not any("sealed/" in sample.instances.uri for sample in samples)

        # The same plan again is the same run; nothing is asked a second time.
        assert running.start("r", a_plan(running.blobs)).state == pb.RUN_STATE_DONE
        assert len(asked) == len(TWO_CYCLES)
        answer = report_of(*running.report_inputs("r"), running.blobs)
        report = json.loads(running.blobs.get(answer.json))
        assert set(report) == {"rows", "models", "images", "profile", "seed"}
        assert report["rows"][2]["annotated_nuclei"] == 2
        assert report["models"]["hovernet"].startswith("model:sha256/")
        assert answer == report_of(*running.report_inputs("r"), running.blobs)
    server.stop()


def test_without_evaluation_and_annotation_there_are_rows_without_scores(tmp_path, store) -> None:
    server, asked = serve_quick(store)
    with orchestrator(settings_for(tmp_path, server.endpoint)) as running:
        plan = a_plan(running.blobs, oracle=False, evaluation=False)
        plan.no_annotation = True
        plan.normalization_target.CopyFrom(plan.images[0])
        running.start("r", plan)
        run = settled(running, "r")
        assert run.state == pb.RUN_STATE_DONE
        assert [row.HasField("scores") for row in run.rows] == [False] * 3
        assert not any("annotate" in name or "evaluate" in name for name, _ in asked)
        assert asked[0][0] == "normalize.pool"
        answer = report_of(*running.report_inputs("r"), running.blobs)
        assert json.loads(running.blobs.get(answer.json))["rows"][1]["pq"] is None
        assert b"No labelled evaluation set" in running.blobs.get(answer.html)
    server.stop()


def test_a_service_that_comes_back_in_time_is_waited_for_and_one_that_stays_away_fails_the_run(tmp_path, store) -> None:
    server, asked = serve_quick(store)
    endpoint, port = server.endpoint, server.port
    with orchestrator(settings_for(tmp_path, endpoint)) as running:
        server.stop()
        running.start("r", a_plan(running.blobs, cycles=1))
        run = settled(running, "r")
        assert run.state == pb.RUN_STATE_FAILED
        assert run.step == "classical.segment"
        assert f"hovernet service at {endpoint}" in run.error
        assert "nucleate up" in run.error
        assert "nucleate run resume r" in run.error
    with orchestrator(settings_for(tmp_path, endpoint, unavailable_seconds=200)) as running:
        running.resume("r")
        settled(running, "r", pb.RUN_STATE_RUNNING)
        server, _ = serve_quick(store, log=asked, port=port)
        run = settled(running, "r")
        assert (run.state, run.error) == (pb.RUN_STATE_DONE, "")
        assert {step.name: step.attempts for step in run.steps}["classical.segment"] == 2
        assert len(asked) == len({name for name, _ in asked})
    server.stop()


def test_people_are_waited_for_over_a_restart(tmp_path, store) -> None:
    server, asked = serve_quick(store)
    settings = settings_for(tmp_path, server.endpoint, run_settings={"patches": 2})
    with orchestrator(settings) as running:
        running.start("r", a_plan(running.blobs, oracle=False))
        assert settled(running, "r").state == pb.RUN_STATE_WAITING
        before = len(asked)
    with orchestrator(settings) as running:
        settled(running, "r", pb.RUN_STATE_WAITING)
        first, second = running.open_tasks("")
        assert (first.task_id, first.done) == ("r.cycle-1.patch-1", False)
        mask = running.blobs.put(square(nuclei=3), "image/png")
        request = pb.SubmitTaskRequest(task_id=first.task_id, instances=mask, clicks=5, seconds=9.0)
        assert running.submit(request).state == pb.RUN_STATE_WAITING
        assert [task.done for task in running.open_tasks("r")] == [True, False]
        request.task_id = second.task_id
        running.submit(request)
        run = settled(running, "r", pb.RUN_STATE_DONE)
        assert [(row.clicks, row.annotated_nuclei) for row in run.rows] == [(0, 0), (0, 0), (10, 6)]
        assert len(asked) == before + len(CYCLE_2)
        assert {step.name: step.attempts for step in run.steps}["cycle-1.wait"] == 2
    server.stop()


def test_cancel_stops_the_job_in_work_and_resume_goes_on_from_it(tmp_path, store) -> None:
    go_on = threading.Event()

    def before(name, job) -> None:
        while name == "cycle-1.train-hovernet" and not go_on.wait(0.02):
            job.progress(1, 2)

    server, asked = serve_quick(store, before)
    with orchestrator(settings_for(tmp_path, server.endpoint)) as running:
        running.start("r", a_plan(running.blobs, cycles=1))
        watched(running, "r", lambda run: (run.step, run.progress.total) == ("cycle-1.train-hovernet", 2))
        assert running.cancel("r").state == pb.RUN_STATE_CANCELLED
        assert running.cancel("r").state == pb.RUN_STATE_CANCELLED
        go_on.set()
        running.resume("r")
        run = settled(running, "r")
        assert run.state == pb.RUN_STATE_DONE
        names = [name for name, _ in asked]
        assert names.count("cycle-1.train-hovernet") == 2
        assert len(names) == len(set(names)) + 1
    server.stop()


def test_what_a_service_says_of_bad_input_fails_the_run_with_that_line(tmp_path, store) -> None:
    server, _ = serve_quick(store)
    with orchestrator(settings_for(tmp_path, server.endpoint)) as running:
        plan = a_plan(running.blobs, oracle=False)
        plan.images[0].id = "broken"
        running.start("r", plan)
        run = settled(running, "r")
        assert run.state == pb.RUN_STATE_FAILED
        assert run.error == "classical.pseudo-label: image 'broken' cannot be decoded: export it again"
        assert [row.name for row in run.rows] == ["classical"]
    server.stop()


def test_what_a_service_says_when_something_it_needs_is_away_is_passed_on(tmp_path, store) -> None:
    def before(name, _job) -> None:
        if name == "cycle-1.synthesize":
            raise StoreUnreachable("the store at s3://bucket does not answer: start it")

    server, _ = serve_quick(store, before)
    with orchestrator(settings_for(tmp_path, server.endpoint)) as running:
        running.start("r", a_plan(running.blobs))
        run = settled(running, "r")
        assert run.state == pb.RUN_STATE_FAILED
        assert run.error.startswith(f"cycle-1.synthesize: the synthesis service at {server.endpoint} did not answer for 2 s ")
        assert "but to say: the store at s3://bucket does not answer" in run.error
    server.stop()

"""OrchestratorService over a real server and a folder store; the services behind it are quick stand-ins."""

from __future__ import annotations

import json
from contextlib import ExitStack

import grpc
import pytest
from tests.unit.orchestrator.quick_services import a_plan, label_png, serve_quick, settings_for, square

from nucleate.orchestrator.loop.runs import Orchestrator
from nucleate.orchestrator.report import render
from nucleate.orchestrator.service.servicer import OrchestratorServicer
from nucleate.runtime.channels import connect
from nucleate.runtime.server import start_server
from nucleate.v1 import orchestrator_pb2 as pb
from nucleate.v1 import orchestrator_pb2_grpc as pb_grpc

# Generous: a shared machine may be busy.
DEADLINE = 240.0


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """A running orchestrator: its stub and the blobs of its store."""
    home = tmp_path_factory.mktemp("home")
    backend, _ = serve_quick((home / "store").as_uri())
    settings = settings_for(home, backend.endpoint, drain_seconds=1)
    with ExitStack() as stack:

        def register(server, context) -> None:
            orchestrator = stack.enter_context(Orchestrator(context.blobs, settings))
            pb_grpc.add_OrchestratorServiceServicer_to_server(OrchestratorServicer(orchestrator), server)

        server = start_server("orchestrator", register, settings)
        with connect(server.endpoint) as channel:
            yield pb_grpc.OrchestratorServiceStub(channel), server.context.blobs
        server.stop()
    backend.stop()


def refused(call, request) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as error:
        list(call(request, timeout=DEADLINE))  # a unary answer is no list: it would fail otherwise
    assert "\n" not in error.value.details()
    return error.value.code(), error.value.details()


def finish(stub, run_id) -> pb.Run:
    return [each.run for each in stub.WatchRun(pb.WatchRunRequest(run_id=run_id), timeout=DEADLINE)][-1]


def test_a_run_from_start_to_report(service) -> None:
    stub, blobs = service
    request = pb.StartRunRequest(run_id="whole", plan=a_plan(blobs))
    run = stub.StartRun(request, timeout=DEADLINE).run
    assert (run.run_id, run.cycles, run.profile, run.seed) == ("whole", 2, "tiny", 7)
    seen = [each.run for each in stub.WatchRun(pb.WatchRunRequest(run_id="whole"), timeout=DEADLINE)]
    assert seen[-1].state == pb.RUN_STATE_DONE
    assert seen[-1].finished.seconds >= seen[-1].started.seconds > 0
    assert stub.GetRun(pb.GetRunRequest(run_id="whole"), timeout=DEADLINE).run == seen[-1]
    assert "whole" in [each.run_id for each in stub.ListRuns(pb.ListRunsRequest(), timeout=DEADLINE).runs]
    assert stub.StartRun(request, timeout=DEADLINE).run == seen[-1]

    answer = stub.GetReport(pb.GetReportRequest(run_id="whole"), timeout=DEADLINE)
    assert set(answer.models) == {"hovernet", "interactive"}
    report = json.loads(blobs.get(answer.json))
    assert [row["name"] for row in report["rows"]] == ["classical", "cycle 1", "cycle 2"]
    assert blobs.get(answer.csv).decode().splitlines()[0].startswith("name,dice1,dice2,aji,ajip,pq,dq,sq,clicks")
    again = render(json.loads(blobs.get(answer.data)), report["models"])
    assert again.html.encode() == blobs.get(answer.html)
    assert json.loads(render(json.loads(blobs.get(answer.data)), {"hovernet": "out/m"}).json)["models"] == {"hovernet": "out/m"}


def test_the_same_id_with_another_plan_is_a_conflict(service) -> None:
    stub, blobs = service
    plan = a_plan(blobs, cycles=1)
    stub.StartRun(pb.StartRunRequest(run_id="taken", plan=plan), timeout=DEADLINE)
    plan.seed += 1
    code, line = refused(stub.StartRun, pb.StartRunRequest(run_id="taken", plan=plan))
    assert code is grpc.StatusCode.ALREADY_EXISTS
    assert "'taken'" in line
    finish(stub, "taken")


def broken_plans():
    """Name, what is wrong with the plan, and what the answer says."""

    def target(plan) -> None:
        plan.normalization_target.id = "t"
        plan.normalization_target.data.CopyFrom(plan.oracle[0].instances)

    return [
        ("no images", lambda plan: plan.ClearField("images"), "no images"),
        ("no cycles", lambda plan: setattr(plan, "cycles", 0), "0 cycles"),
        ("too many cycles", lambda plan: setattr(plan, "cycles", 51), "51 cycles"),
        ("unknown profile", lambda plan: setattr(plan, "profile", "huge"), "unknown profile 'huge'"),
        ("the same id twice", lambda plan: plan.images.append(plan.images[0]), "'image-0' occurs twice"),
        ("an image without an id", lambda plan: setattr(plan.images[0], "id", " "), "no id"),
        ("an image without data", lambda plan: plan.images[0].ClearField("data"), "'image-0' has no data"),
        ("a sealed image", lambda plan: plan.images[0].data.CopyFrom(plan.oracle[0].instances), "'image-0' is sealed"),
        ("an open mask", lambda plan: plan.evaluation[0].instances.CopyFrom(plan.images[0].data), "'eval-0' is not sealed"),
        ("an open oracle", lambda plan: plan.oracle[1].instances.CopyFrom(plan.images[0].data), "'image-1' is not sealed"),
        ("a missing oracle", lambda plan: plan.oracle.pop(), "'image-1' has no oracle"),
        ("a foreign oracle", lambda plan: plan.images.pop(), "'image-1' belongs to no image"),
        ("a sealed target", target, "normalization target is sealed"),
    ]


@pytest.mark.parametrize(("change", "says"), [case[1:] for case in broken_plans()], ids=[case[0] for case in broken_plans()])
def test_a_plan_that_cannot_work_is_refused_before_anything_is_written(service, change, says) -> None:
    stub, blobs = service
    plan = a_plan(blobs)
    change(plan)
    code, line = refused(stub.StartRun, pb.StartRunRequest(run_id="bad", plan=plan))
    assert (code, says in line) == (grpc.StatusCode.INVALID_ARGUMENT, True), line
    assert list(blobs.store.list("runs/bad/")) == []
    assert refused(stub.GetRun, pb.GetRunRequest(run_id="bad"))[0] is grpc.StatusCode.NOT_FOUND


def test_data_that_is_not_in_the_store_is_named(service) -> None:
    stub, blobs = service
    plan = a_plan(blobs)
    plan.images[1].data.uri = "sha256/00/" + "0" * 64
    code, line = refused(stub.StartRun, pb.StartRunRequest(run_id="bad", plan=plan))
    assert (code, "image 'image-1' is not in the object store" in line) == (grpc.StatusCode.NOT_FOUND, True)


@pytest.mark.parametrize("run_id", ["", "../up", "a/b", "x" * 65, ".hidden", "spaced out"])
def test_ids_that_could_not_name_a_job_are_refused(service, run_id) -> None:
    stub, blobs = service
    assert refused(stub.StartRun, pb.StartRunRequest(run_id=run_id, plan=a_plan(blobs)))[0] is grpc.StatusCode.INVALID_ARGUMENT


def test_unknown_runs_and_finished_ones(service) -> None:
    stub, blobs = service
    for call, request in (
        (stub.GetRun, pb.GetRunRequest),
        (stub.WatchRun, pb.WatchRunRequest),
        (stub.CancelRun, pb.CancelRunRequest),
        (stub.ResumeRun, pb.ResumeRunRequest),
        (stub.GetReport, pb.GetReportRequest),
        (stub.ListTasks, pb.ListTasksRequest),
    ):
        assert refused(call, request(run_id="nobody"))[0] is grpc.StatusCode.NOT_FOUND
    stub.StartRun(pb.StartRunRequest(run_id="over", plan=a_plan(blobs, cycles=1)), timeout=DEADLINE)
    finish(stub, "over")
    assert refused(stub.CancelRun, pb.CancelRunRequest(run_id="over"))[0] is grpc.StatusCode.FAILED_PRECONDITION
    assert stub.ResumeRun(pb.ResumeRunRequest(run_id="over"), timeout=DEADLINE).run.state == pb.RUN_STATE_DONE


def test_tasks_wait_for_a_fitting_mask(service) -> None:
    stub, blobs = service
    stub.StartRun(pb.StartRunRequest(run_id="people", plan=a_plan(blobs, oracle=False)), timeout=DEADLINE)
    assert finish(stub, "people").state == pb.RUN_STATE_WAITING
    (task,) = stub.ListTasks(pb.ListTasksRequest(run_id="people"), timeout=DEADLINE).tasks
    assert task.task_id == "people.cycle-1.patch-1"
    assert task.model.kind == "interactive"

    def answer(data: bytes, *, sealed: bool = False, **more) -> pb.SubmitTaskRequest:
        blob = blobs.put(data, "image/png", sealed=sealed)
        return pb.SubmitTaskRequest(task_id=task.task_id, instances=blob, clicks=4, seconds=8.5, **more)

    invalid = grpc.StatusCode.INVALID_ARGUMENT
    assert refused(stub.SubmitTask, answer(square(8)))[0] is invalid
    assert "8x8" in refused(stub.SubmitTask, answer(square(8)))[1]
    assert refused(stub.SubmitTask, answer(b"no picture"))[0] is invalid
    assert "sealed" in refused(stub.SubmitTask, answer(square(), sealed=True))[1]
    assert refused(stub.SubmitTask, pb.SubmitTaskRequest(task_id=task.task_id))[0] is invalid
    unknown = answer(square())
    for name in ("people.cycle-9.patch-1", "x", "../../x.cycle-1.patch-1", ""):
        unknown.task_id = name
        code, _ = refused(stub.SubmitTask, unknown)
        assert code in (grpc.StatusCode.NOT_FOUND, invalid), name

    assert stub.SubmitTask(answer(square()), timeout=DEADLINE).run.run_id == "people"
    stub.SubmitTask(answer(square()), timeout=DEADLINE)
    assert refused(stub.SubmitTask, answer(label_png([[0] * 16] * 16)))[0] is grpc.StatusCode.ALREADY_EXISTS
    run = finish(stub, "people")
    assert (run.state, run.rows[-1].clicks) == (pb.RUN_STATE_DONE, 4)

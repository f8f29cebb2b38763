"""What every server promises: health, reflection, metrics, the error table, and jobs that survive anything.

Run as a script, this file is a service of its own, for the tests that kill one.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from nucleate import errors
from nucleate.runtime.channels import call, connect, follow, wait_ready
from nucleate.runtime.jobs import Job
from nucleate.runtime.server import RunningServer, ServiceContext, ServiceSettings, serve, start_server
from nucleate.runtime.store import FolderStore
from nucleate.v1 import interactive_pb2 as ipb
from nucleate.v1 import interactive_pb2_grpc as ipb_grpc
from nucleate.v1 import jobs_pb2, jobs_pb2_grpc
from nucleate.v1 import refiner_pb2 as pb
from nucleate.v1 import refiner_pb2_grpc as pb_grpc

REFINER = "nucleate.v1.RefinerService"
STEP_SECONDS = 0.02
Train = pb.RefinerServiceTrainRequest


class Counting(pb_grpc.RefinerServiceServicer, ipb_grpc.InteractiveServiceServicer):
    """Counts to `seed`, with a checkpoint at each step; `profile` tells how to go wrong."""

    def __init__(self, context: ServiceContext) -> None:
        self.jobs = context.jobs
        self.runs: list[str] = []
        self.active = 0
        self.most_active = 0
        self.healed = False

    def Train(self, request: Train, context: grpc.ServicerContext) -> Iterator[pb.RefinerServiceTrainResponse]:
        return self.jobs.stream(request, pb.RefinerServiceTrainResponse, lambda job: self._count(request, job))

    def Refine(self, request: pb.RefineRequest, context: grpc.ServicerContext) -> Iterator[pb.RefineResponse]:
        yield pb.RefineResponse()
        raise_named(request.job_id)

    def GetSession(self, request: ipb.GetSessionRequest, context: grpc.ServicerContext) -> ipb.GetSessionResponse:
        raise_named(request.session_id)
        raise AssertionError

    def _count(self, request: Train, job: Job) -> pb.RefinerServiceTrainResult:
        self.runs.append(job.job_id)
        self.active += 1
        self.most_active = max(self.most_active, self.active)
        try:
            first = int(job.restored() or b"0")
            for step in range(first, request.seed):
                job.checkpoint(b"%d" % (step + 1))
                job.progress(step + 1, request.seed, "counting", loss=1.0 / (step + 1))
                time.sleep(60 if request.profile == "stuck" else STEP_SECONDS)
            if request.profile == "fails once" and not self.healed:
                self.healed = True
                raise errors.InvalidDataset("dataset d: no samples")
            if request.profile == "crashes":
                raise RuntimeError("secret-7f3a")
            filler = {"x" * (5 * 1024 * 1024): 1.0} if request.profile == "too large" else {}
            return pb.RefinerServiceTrainResult(metrics={"first": first, "last": request.seed} | filler)
        finally:
            self.active -= 1


def raise_named(name: str) -> None:
    if name == "RuntimeError":
        raise RuntimeError("secret-7f3a")
    error = getattr(errors, name)
    raise error("x", ["a", "b"]) if error is errors.UnknownProfile else error(f"public line of {name}")


def register(server: grpc.Server, context: ServiceContext) -> Counting:
    servicer = Counting(context)
    pb_grpc.add_RefinerServiceServicer_to_server(servicer, server)
    ipb_grpc.add_InteractiveServiceServicer_to_server(servicer, server)
    return servicer


class Client:
    """A server in this process on a free port, and stubs on it."""

    def __init__(self, store: Path) -> None:
        registered: list[Counting] = []
        settings = ServiceSettings(store=store.as_uri(), drain_seconds=2)
        self.server: RunningServer = start_server("counting", lambda *to: registered.append(register(*to)), settings)
        self.servicer = registered[0]
        self.channel = connect(self.server.endpoint)
        self.refiner = pb_grpc.RefinerServiceStub(self.channel)
        self.interactive = ipb_grpc.InteractiveServiceStub(self.channel)
        self.jobs = jobs_pb2_grpc.JobsServiceStub(self.channel)

    def train(self, job_id: str, steps: int, profile: str = "") -> Iterator[pb.RefinerServiceTrainResponse]:
        return follow(self.refiner.Train, Train(job_id=job_id, seed=steps, profile=profile))

    def state(self, job_id: str) -> str:
        return jobs_pb2.JobState.Name(self.job(job_id).state).removeprefix("JOB_STATE_")

    def job(self, job_id: str) -> jobs_pb2.GetJobResponse:
        return call(self.jobs.GetJob, jobs_pb2.GetJobRequest(job_id=job_id))

    def cancel(self, job_id: str) -> str:
        answer = call(self.jobs.CancelJob, jobs_pb2.CancelJobRequest(job_id=job_id))
        return jobs_pb2.JobState.Name(answer.state).removeprefix("JOB_STATE_")

    def metrics(self) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.server.metrics_port}/metrics") as page:
            return page.read().decode()

    def stop(self) -> None:
        self.channel.close()
        self.server.stop()


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    client = Client(tmp_path)
    yield client
    client.stop()


def eventually(holds: Callable[[], Any], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)


class TestServer:
    def test_health_of_every_service(self, client: Client) -> None:
        stub = health_pb2_grpc.HealthStub(client.channel)
        for service in ("", REFINER, "nucleate.v1.JobsService"):
            assert stub.Check(health_pb2.HealthCheckRequest(service=service)).status == health_pb2.HealthCheckResponse.SERVING
            wait_ready(client.channel, service, timeout=5)
        with pytest.raises(grpc.RpcError, match="NOT_FOUND"):
            stub.Check(health_pb2.HealthCheckRequest(service="nobody"))
        watch = stub.Watch(health_pb2.HealthCheckRequest(service=REFINER))
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        threading.Thread(target=client.server.stop).start()
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING

    def test_reflection_lists_the_services(self, client: Client) -> None:
        stub = reflection_pb2_grpc.ServerReflectionStub(client.channel)
        answer = next(stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")])))
        names = {service.name for service in answer.list_services_response.service}
        assert {REFINER, "nucleate.v1.JobsService", "grpc.health.v1.Health"} <= names

    def test_metrics_and_log_line_of_every_call(self, client: Client) -> None:
        with structlog.testing.capture_logs() as lines:
            list(client.train("metrics", 2))
            with pytest.raises(errors.NotFound):
                client.job("nobody")
            eventually(lambda: len([line for line in lines if line["event"] == "rpc"]) == 2)
        train, get_job = (line for line in lines if line["event"] == "rpc")
        assert (train["service"], train["method"], train["code"], train["job_id"]) == (REFINER, "Train", "OK", "metrics")
        assert get_job["code"] == "NOT_FOUND"
        text = client.metrics()
        assert f'nucleate_rpc_total{{code="OK",method="Train",service="{REFINER}"}} 1.0' in text
        assert f'nucleate_rpc_in_flight{{method="Train",service="{REFINER}"}} 0.0' in text
        assert 'nucleate_jobs_total{event="done",service="counting"} 1.0' in text
        assert 'nucleate_jobs_running{service="counting"} 0.0' in text

    def test_a_message_over_4_mib_is_refused(self, client: Client) -> None:
        with pytest.raises(errors.TooLarge):
            list(client.train("x" * (4 * 1024 * 1024 + 1), 1))


ALL_ERRORS = sorted(
    name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, errors.NucleateError)
)


class TestErrors:
    @pytest.mark.parametrize("name", [name for name in ALL_ERRORS if name != "NucleateError"])
    def test_domain_errors_cross_the_wire(self, client: Client, name: str) -> None:
        wanted = "unknown profile 'x': choose one of a, b" if name == "UnknownProfile" else f"public line of {name}"
        for make in (
            lambda: client.interactive.GetSession(ipb.GetSessionRequest(session_id=name), timeout=10),
            lambda: list(client.refiner.Refine(pb.RefineRequest(job_id=name), timeout=10)),
        ):
            with pytest.raises(errors.NucleateError) as caught:
                call(lambda _request, timeout, make=make: make(), None)
            assert (type(caught.value).__name__, str(caught.value)) == (name, wanted)

    def test_other_errors_show_a_reference_only(self, client: Client) -> None:
        with structlog.testing.capture_logs() as lines:
            for make in (
                lambda: call(client.interactive.GetSession, ipb.GetSessionRequest(session_id="RuntimeError")),
                lambda: list(follow(client.refiner.Refine, pb.RefineRequest(job_id="RuntimeError"))),
                lambda: list(client.train("crash", 1, "crashes")),
            ):
                with pytest.raises(errors.NucleateError, match="internal error, reference") as caught:
                    make()
                assert "secret" not in str(caught.value)
                (logged,) = [line for line in lines if line.get("reference", "-") in str(caught.value)]
                assert "secret-7f3a" in str(logged["exc_info"])
        assert "secret" not in client.job("crash").error

    def test_a_server_that_is_gone(self, tmp_path: Path) -> None:
        client = Client(tmp_path)
        client.server.stop()
        with pytest.raises(errors.Unreachable):
            client.job("x")
        with pytest.raises(errors.Unreachable, match="not ready within"):
            wait_ready(client.channel, timeout=0.2)
        client.channel.close()


class TestJobs:
    def test_progress_then_result_then_replay(self, client: Client) -> None:
        *progress, last = client.train("once", 30)
        steps = [message.progress.step for message in progress]
        assert steps == sorted(steps)
        assert steps[-1] == progress[-1].progress.total == 30
        assert len(steps) < 15
        assert progress[-2].progress.eta_seconds > 0
        assert not progress[0].progress.resumed
        assert last.result.metrics == {"first": 0, "last": 30}
        assert list(client.train("once", 30)) == [last]
        assert client.servicer.runs == ["once"]
        assert client.state("once") == "DONE"
        assert not list(client.server.context.store.list("jobs/counting/once/checkpoint"))

    def test_many_watchers_of_one_job_and_one_that_leaves(self, client: Client) -> None:
        leaves = client.train("shared", 40)
        next(leaves)
        other = client.train("shared", 40)
        assert next(other).progress.resumed
        leaves.close()
        assert [message.result.metrics["last"] for message in other if message.HasField("result")] == [40]
        assert client.servicer.runs == ["shared"]

    def test_jobs_run_one_at_a_time(self, client: Client) -> None:
        streams = [client.train(f"queue-{n}", 5) for n in range(3)]
        assert [next(stream).progress.stage for stream in streams][1:] == ["waiting", "waiting"]
        assert [list(stream)[-1].HasField("result") for stream in streams] == [True] * 3
        assert client.servicer.most_active == 1

    def test_conflict_and_bad_ids(self, client: Client) -> None:
        list(client.train("taken", 1))
        with pytest.raises(errors.JobConflict, match="'taken' was started with another request"):
            list(client.train("taken", 2))
        for bad in ("", ".", "..", "../x", "a/b", "a b", "ä", "x" * 129):
            with pytest.raises(errors.InvalidInput):
                list(client.train(bad, 1))
            with pytest.raises(errors.InvalidInput):
                client.job(bad)

    def test_cancel(self, client: Client) -> None:
        stream, waiting = client.train("stop", 10_000), client.train("stop-too", 10_000)
        next(stream)
        next(waiting)
        assert client.cancel("stop-too") == "CANCELLED"
        assert client.cancel("stop") == "CANCELLED"
        for cancelled in (stream, waiting):
            with pytest.raises(errors.Cancelled):
                list(cancelled)
        assert (client.state("stop"), client.state("stop-too")) == ("CANCELLED", "CANCELLED")
        assert client.servicer.runs == ["stop"]
        with pytest.raises(errors.NotFound):
            client.cancel("nobody")
        list(client.train("over", 1))
        assert client.cancel("over") == "DONE"

    def test_failed_job_is_tried_again_from_its_checkpoint(self, client: Client) -> None:
        with pytest.raises(errors.InvalidDataset, match="dataset d: no samples"):
            list(client.train("flaky", 3, "fails once"))
        assert (client.state("flaky"), client.job("flaky").error) == ("FAILED", "dataset d: no samples")
        assert list(client.train("flaky", 3, "fails once"))[-1].result.metrics["first"] == 3
        assert client.state("flaky") == "DONE"

    def test_result_over_the_message_limit(self, client: Client) -> None:
        with pytest.raises(errors.TooLarge, match="ask for less"):
            list(client.train("huge", 1, "too large"))

    def test_watchers_that_leave_free_their_threads(self, client: Client) -> None:
        for _ in range(2):
            streams = [client.train("watched", 10_000) for _ in range(12)]
            for stream in streams:
                next(stream)
            with pytest.raises(errors.TooLarge, match="12 calls watch jobs"):
                next(client.train("watched", 10_000))
            assert client.state("watched") == "RUNNING"
            for stream in streams:
                stream.close()
            eventually(lambda: f'in_flight{{method="Train",service="{REFINER}"}} 0.0' in client.metrics())
        client.cancel("watched")


class TestInterruption:
    def test_drain_leaves_a_resumable_job(self, tmp_path: Path) -> None:
        first = Client(tmp_path)
        stream = first.train("long", 60)
        while next(stream).progress.step < 5:
            pass
        first.server.stop()
        with pytest.raises(errors.Unreachable, match="call again to go on with job 'long'"):
            list(stream)
        first.channel.close()
        second = Client(tmp_path)
        assert second.state("long") == "INTERRUPTED"
        messages = list(second.train("long", 60))
        assert messages[0].progress.resumed
        assert 5 <= messages[-1].result.metrics["first"] < 60
        second.stop()

    def test_cancel_of_an_interrupted_job(self, tmp_path: Path) -> None:
        first = Client(tmp_path)
        next(first.train("long", 10_000))
        first.stop()
        second = Client(tmp_path)
        assert second.cancel("long") == "CANCELLED"
        assert second.state("long") == "CANCELLED"
        second.stop()

    def test_two_replicas_run_a_job_once(self, tmp_path: Path) -> None:
        first, second = Client(tmp_path), Client(tmp_path)
        leading = first.train("both", 60)
        next(leading)
        watched = second.train("both", 60)
        assert next(watched).progress.resumed
        assert second.state("both") == "RUNNING"
        assert [message.result.metrics["last"] for message in watched if message.HasField("result")] == [60]
        assert (first.servicer.runs, second.servicer.runs) == (["both"], [])
        next(first.train("cancel", 10_000))
        assert second.cancel("cancel") == "RUNNING"
        eventually(lambda: second.state("cancel") == "CANCELLED")
        for client in (first, second):
            client.stop()


class Process:
    """This file as a service of its own."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.port_file = folder / f"port-{time.monotonic_ns()}"
        changes = {"NUCLEATE_STORE": (folder / "store").as_uri(), "NUCLEATE_PORT_FILE": "", "NUCLEATE_PORT": "0"} | environment
        command = [sys.executable, __file__, "--port-file", str(self.port_file)]
        self.child = subprocess.Popen(command, env=os.environ | changes, stderr=subprocess.PIPE, text=True)

    def client(self) -> tuple[grpc.Channel, pb_grpc.RefinerServiceStub]:
        eventually(self.port_file.exists)
        channel = connect(f"127.0.0.1:{int(self.port_file.read_text())}")
        return channel, pb_grpc.RefinerServiceStub(channel)

    def end(self, with_signal: signal.Signals | None = None) -> tuple[int, str]:
        if with_signal:
            self.child.send_signal(with_signal)
        _, log = self.child.communicate(timeout=30)
        return self.child.returncode, log


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


if __name__ == "__main__":
    serve("counting", ServiceSettings(), register)

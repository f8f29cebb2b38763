"""A service that counts, with ways to go wrong: in this process, or run as a script, in one of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc

from nucleate import errors
from nucleate.runtime.channels import call, connect, follow
from nucleate.runtime.jobs import Job
from nucleate.runtime.server import RunningServer, ServiceContext, ServiceSettings, serve, start_server
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


def eventually(holds: Callable[[], Any], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)


class Process:
    """This file, run as a service in a process of its own."""

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


if __name__ == "__main__":
    serve("counting", ServiceSettings(), register)

"""A stream goes on over a server that stops and comes back; errors arrive as they were raised."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from nucleate.client.local.ports import free_ports
from nucleate.client.service_calls import ServiceClient
from nucleate.errors import InvalidImage, StoreUnreachable, Unreachable
from nucleate.runtime.server import RunningServer, ServiceSettings, start_server
from nucleate.v1 import common_pb2, synthesis_pb2, synthesis_pb2_grpc


class Counting(synthesis_pb2_grpc.SynthesisServiceServicer):
    """Three steps; waits in the second while `gate` is closed."""

    def __init__(self, gate: threading.Event, error: Exception | None = None) -> None:
        self.gate, self.error = gate, error

    def Synthesize(self, request, context) -> Iterator[Any]:
        if self.error:
            raise self.error
        for step in range(3):
            if step == 1 and not self.gate.wait(20):
                return
            yield synthesis_pb2.SynthesizeResponse(progress=common_pb2.Progress(stage="counting", step=step, total=3))
        yield synthesis_pb2.SynthesizeResponse(result=synthesis_pb2.SynthesizeResult(nuclei_placed=request.count))


def serve(servicer: Counting, port: int = 0) -> RunningServer:
    settings = ServiceSettings(store="memory:", port=port, drain_seconds=0)
    return start_server(
        "synthesis",
        lambda server, _: synthesis_pb2_grpc.add_SynthesisServiceServicer_to_server(servicer, server),
        settings,
    )


def remote_at(endpoint: str, notes: list[str]) -> ServiceClient[Any]:
    return ServiceClient("synthesis", endpoint, synthesis_pb2_grpc.SynthesisServiceStub, notes.append)


REQUEST = synthesis_pb2.SynthesizeRequest(job_id="count", count=7)


def test_a_killed_server_is_waited_for_and_asked_again(tmp_path):
    (port,) = free_ports(1, tmp_path, set())
    closed, opened = threading.Event(), threading.Event()
    opened.set()
    first, notes, steps, servers = serve(Counting(closed), port), [], [], []
    remote = remote_at(first.endpoint, notes)

    def on_progress(progress: common_pb2.Progress) -> None:
        steps.append(progress.step)
        if len(steps) == 1:  # the server goes away while it works on step 1
            first.stop()
            servers.append(serve(Counting(opened), port))

    result = remote.follow(remote.stub.Synthesize, REQUEST, on_progress)
    servers[0].stop()
    closed.set()
    remote.close()
    assert result.nuclei_placed == 7
    assert steps == [0, 0, 1, 2]
    assert notes[1:] in ([], ["synthesis is back"])  # not a word if it is back at once


def test_a_server_that_is_not_there_is_given_up_soon_with_the_fix(tmp_path):
    notes: list[str] = []
    remote = remote_at(f"127.0.0.1:{free_ports(1, tmp_path, set())[0]}", notes)
    remote.connect_timeout_s = 0.1
    with pytest.raises(Unreachable, match=r"synthesis at 127\.0\.0\.1:\d+ cannot be reached: start it with `nucleate up`"):
        remote.follow(remote.stub.Synthesize, REQUEST, lambda _: None)
    remote.close()


@pytest.mark.parametrize("error", [InvalidImage("x.png is damaged: export it again"), StoreUnreachable("object store is down")])
def test_errors_of_the_service_arrive_at_once(error: Exception):
    server, notes = serve(Counting(threading.Event(), error)), []
    remote = remote_at(server.endpoint, notes)
    with pytest.raises(type(error), match=str(error)):
        remote.follow(remote.stub.Synthesize, REQUEST, lambda _: None)
    remote.close()
    server.stop()
    assert notes == []

"""Many people at once, and a service that is killed under one of them."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.contract.interactive_bench import Bench, click_request, running_bench

from nucleate.runtime.channels import call, connect, wait_ready
from nucleate.v1 import interactive_pb2 as pb
from nucleate.v1 import interactive_pb2_grpc as pb_grpc

SESSIONS = 32
PLACES = [(30, 30, True), (44, 36, True), (60, 30, False)]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with running_bench(Path(tmp_path_factory.mktemp("store")).as_uri()) as bench:
        yield bench


def script(number: int) -> list[tuple[int, int, bool]]:
    """Clicks of session `number`; no two sessions click alike."""
    return [(x + number % 8, y + number // 8, positive) for x, y, positive in PLACES]


def played(stub: Any, name: str, number: int) -> list[bytes]:
    """Click, undo, redo and accept; the masks in order."""
    masks, sequence = [], 1
    for x, y, positive in script(number):
        answer = call(stub.Click, click_request(name, sequence, x, y, positive), timeout=120)
        assert answer.clicks_obeyed
        masks.append(answer.mask.SerializeToString())
        sequence = answer.sequence
    sequence = call(stub.Undo, pb.UndoRequest(session_id=name, sequence=sequence)).sequence
    again = call(stub.Redo, pb.RedoRequest(session_id=name, sequence=sequence))
    assert again.change.mask.SerializeToString() == masks[-1]
    call(stub.Accept, pb.AcceptRequest(session_id=name, sequence=again.sequence))
    return masks


class TestThirtyTwoSessions:
    def test_each_gets_the_masks_it_gets_alone_and_memory_stays_bounded(self, bench):
        images = [bench.image(seed)[0] for seed in (5, 6, 7, 8)]
        with bench.replica(live_sessions=SESSIONS) as stub:
            alone = []
            for number in range(SESSIONS):
                name = bench.open(image=images[number % 4]).session_id
                alone.append(played(stub, name, number))
            names = [bench.open(image=images[number % 4]).session_id for number in range(SESSIONS)]
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            with ThreadPoolExecutor(SESSIONS) as pool:
                together = list(pool.map(lambda number: played(stub, names[number], number), range(SESSIONS)))
            grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert together == alone
        assert len({b"".join(masks) for masks in alone}) > SESSIONS // 2
        assert grown < 400_000  # KiB

    def test_streams_and_few_places_in_memory(self, bench):
        """Sessions that leave the memory between two clicks are rebuilt from their log, to the same masks."""
        names = [bench.open().session_id for _ in range(8)]

        def stream(number: int) -> list[bytes]:
            clicks = [click_request(names[number], n, *at) for n, at in enumerate(script(number), 1)]
            requests = (pb.InteractRequest(request_id=n, click=each) for n, each in enumerate(clicks))
            return [answer.click.mask.SerializeToString() for answer in stub.Interact(requests, timeout=120)]

        with bench.replica(live_sessions=2) as stub, ThreadPoolExecutor(8) as pool:
            together = list(pool.map(stream, range(8)))
        for number in range(8):
            name = bench.open().session_id
            assert played(bench.stubs[0], name, number) == together[number]


class Service:
    """A real process of the interactive service, and a stub for it."""

    def __init__(self, store: str, folder: Path) -> None:
        self._store, self._folder, self._starts = store, folder, 0
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: grpc.Channel | None = None

    def start(self) -> None:
        self._starts += 1
        port_file = self._folder / f"port-{self._starts}"
        settings = {"STORE": self._store, "DEVICE": "cpu", "THREADS": "1", "LOG_LEVEL": "error"}
        environment = os.environ | {f"NUCLEATE_{name}": value for name, value in settings.items()}
        command = [sys.executable, "-m", "nucleate.interactive", "--port-file", str(port_file)]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        ends = time.monotonic() + 120
        while not port_file.exists():
            assert self._process.poll() is None, (self._folder / "log").read_text()[-2000:]
            assert time.monotonic() < ends
            time.sleep(0.05)
        self._channel = connect(f"127.0.0.1:{port_file.read_text().strip()}")
        wait_ready(self._channel, timeout=60)
        self.stub = pb_grpc.InteractiveServiceStub(self._channel)

    def kill(self) -> None:
        assert self._process
        assert self._channel
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._channel.close()


@pytest.fixture
def service(bench: Bench, tmp_path: Path) -> Iterator[Service]:
    service = Service(bench.store, tmp_path)
    service.start()
    yield service
    service.kill()


def test_a_killed_service_goes_on_with_the_same_masks(bench, service):
    """Killed between two clicks, and again while it works on one: none is lost and none counts twice."""
    expected = played(bench.stubs[0], bench.open().session_id, 0)
    name, masks = bench.open().session_id, []
    for n, at in enumerate(script(0), 1):
        request = click_request(name, n, *at)
        if n == 2:
            service.kill()
            service.start()
        if n == 3:
            under_way = service.stub.Click.future(request)
            time.sleep(0.05)
            service.kill()
            assert under_way.cancelled() or under_way.exception(30) or under_way.result().sequence == n + 1
            service.start()
        masks.append(call(service.stub.Click, request, timeout=60).mask.SerializeToString())
    assert masks == expected
    session = call(service.stub.GetSession, pb.GetSessionRequest(session_id=name)).session
    assert (session.sequence, len(session.clicks)) == (len(PLACES) + 1, len(PLACES))
    call(service.stub.Accept, pb.AcceptRequest(session_id=name, sequence=session.sequence))
    closed = call(service.stub.CloseSession, pb.CloseSessionRequest(session_id=name))
    assert (closed.clicks, closed.nuclei) == (len(PLACES), 1)

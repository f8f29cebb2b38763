"""The clients against the interactive service itself: one suite for blocking and asyncio, single calls and streams."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.contract.interactive_bench import SETTINGS, SIZE
from tests.paths import ROOT
from tests.unit.client.surfaces import SURFACES, connect
from tests.unit.interactive.nuclei import draw_nuclei

from nucleate import errors
from nucleate.client import Client
from nucleate.client.files.model_folders import store_model
from nucleate.interactive.service.servicer import register
from nucleate.interactive.service.settings import InteractiveSettings
from nucleate.pathology.images.codec import decode_instances, encode_png
from nucleate.runtime.server import start_server
from nucleate.v1 import common_pb2 as common

WINDOW = (16, 16, 96, 96)


def centres(instances: np.ndarray) -> list[tuple[int, int]]:
    """A pixel (x, y) well inside each nucleus."""
    found = []
    for label in np.unique(instances)[1:]:
        rows, columns = np.nonzero(instances == label)
        middle = np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2)
        found.append((int(columns[middle]), int(rows[middle])))
    return found


@pytest.fixture(params=SURFACES)
def client(request: pytest.FixtureRequest, bench: Any) -> Iterator[Any]:
    with connect(request.param, bench.servers[0].endpoint, model=store_model(bench.model, bench.blobs)) as client:
        yield client


def assert_known(session: Any, client: Any) -> None:
    """What the client keeps is what the service says."""
    with client.resume(session.id) as fresh:
        assert (fresh.objects, fresh.working, fresh.clicks) == (session.objects, session.working, session.clicks)
        assert fresh.sequence == session.sequence


class TestSession:
    def test_from_pixels_to_the_map(self, bench: Any, client: Any):
        rgb, instances = draw_nuclei(SIZE, 9, 5)
        first, second, *others = centres(instances)
        with client.open(rgb) as session:
            assert session.window == (0, 0, SIZE, SIZE)
            mask = session.click(*first, probability=True)
            assert first in mask
            assert np.asarray(mask)[first[1], first[0]]
            assert np.asarray(mask).sum() == mask.area > 0
            assert mask.clicks_obeyed
            assert mask.milliseconds > 0
            assert len(mask.probability.values) == mask.probability.box.width * mask.probability.box.height
            beside = next(point for point in second_ring(mask.box) if point not in mask)
            assert beside not in session.click(*beside, positive=False)
            assert session.undo().runs == mask.runs
            assert_known(session, client)
            session.redo()
            assert len(session.clicks) == 2
            assert_known(session, client)
            one = session.accept()
            assert_known(session, client)
            made = session.click_many([second, *others[:2]])
            assert_known(session, client)
            two = next(each.id for each in made if each.id)
            session.select(two)
            assert_known(session, client)
            session.undo()
            session.delete(two)
            assert_known(session, client)
            session.undo()
            assert_known(session, client)
            assert {one, two} <= session.objects.keys()
            result = session.close()
        stored = decode_instances(bench.blobs.get(result.stored.instances), "map")
        np.testing.assert_array_equal(np.asarray(result.instances), stored)
        np.testing.assert_array_equal(decode_instances(result.instances.to_png(), "png"), stored)
        assert result.nuclei == result.instances.nuclei == len(session.objects)

    def test_corrects_proposals_in_a_window(self, bench: Any, client: Any):
        rgb, instances = draw_nuclei(SIZE, 9, 6)
        proposals = bench.proposals(instances)
        with client.open(rgb, window=WINDOW, proposals=proposals) as session:
            assert session.objects
            number, nucleus = next(iter(session.objects.items()))
            assert nucleus.clicks == 0
            np.testing.assert_array_equal(np.asarray(nucleus.mask).shape, (96, 96))
            assert session.select(number) == nucleus.mask
            x, y = next((x, y) for y, x, _ in nucleus.mask.spans())
            session.click(x, y)
            assert session.working.clicks == 1
            assert_known(session, client)
            with client.resume(session.id) as resumed:
                assert resumed.undo() == nucleus.mask
                assert_known(resumed, client)
                resumed.undo()
                assert resumed.working is None
                assert_known(resumed, client)
            session.refresh()
            session.propose()
            assert_known(session, client)
            result = session.close()
        stored = decode_instances(bench.blobs.get(result.stored.instances), "map")
        np.testing.assert_array_equal(np.asarray(result.instances), stored)

    def test_errors_are_the_service_s_own(self, client: Any):
        rgb, _ = draw_nuclei(SIZE, 9, 5)
        with client.open(rgb, window=WINDOW) as session:
            with pytest.raises(errors.InvalidInput, match="outside the window"):
                session.click(2, 2)
            with pytest.raises(errors.Precondition):
                session.accept()
            with pytest.raises(errors.NotFound):
                session.select(77)
            session.close()
            with pytest.raises(errors.Precondition, match="closed"):
                session.click(40, 40)
        with pytest.raises(errors.InvalidImage, match="greyscale"):
            client.open(np.repeat(rgb[..., :1], 3, axis=2))
        with pytest.raises(errors.InvalidModel):
            client.open(rgb, model=f"model:sha256/ab/{'ab' * 32}")
        with pytest.raises(errors.NotFound):
            client.resume("nobody")

    def test_another_replica_goes_on(self, bench: Any, client: Any):
        rgb, instances = draw_nuclei(SIZE, 9, 5)
        first, second = centres(instances)[:2]
        with client.open(rgb) as session, Client(bench.servers[1].endpoint) as elsewhere:
            mask = session.click(*first)
            resumed = elsewhere.resume(session.id)
            assert resumed.objects[mask.object_id].mask.runs == mask.runs
            resumed.accept()
            with pytest.raises(errors.SessionConflict):
                session.click(*second)
            assert session.working is None
            assert session.click(*second).object_id != mask.object_id

    def test_an_image_is_sent_once_and_opened_often(self, client: Any):
        rgb, _ = draw_nuclei(SIZE, 9, 5)
        stored = client.put_image(rgb, "slide")
        assert (stored.reference.id, stored.width, stored.height) == ("slide", SIZE, SIZE)
        assert isinstance(stored.reference, common.Image)
        ids = set()
        for _ in range(2):
            with client.open(stored.reference) as session:
                ids.add(session.id)
        assert len(ids) == 2
        with client.open(stored.reference, session_id=session.id) as again:
            assert again.id == session.id
        with pytest.raises(errors.Conflict):
            client.open(stored.reference, session_id=session.id, window=WINDOW)


def second_ring(box: Any) -> Iterator[tuple[int, int]]:
    """Pixels just outside a mask's box."""
    for x in range(max(box.x - 2, 0), min(box.x + box.width + 2, SIZE)):
        for y in (box.y - 2, box.y + box.height + 1):
            if 0 <= y < SIZE:
                yield x, y


def test_a_busy_service_serves_everybody_in_the_end(bench: Any):
    rgb, instances = draw_nuclei(SIZE, 9, 5)
    settings = InteractiveSettings(store=bench.store, compute=1, most_waiting=0, **SETTINGS)
    server = start_server("interactive", register, settings)
    points, masks = centres(instances)[:3], {}

    def annotate(number: int) -> None:
        with Client(server.endpoint, model=bench.model, stream=number % 2 == 0) as client, client.open(rgb) as session:
            for point in points:
                masks.setdefault(point, set()).add(session.click(*point).runs)
                session.accept()

    threads = [threading.Thread(target=annotate, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    server.stop()
    assert [len(masks[point]) for point in points] == [1, 1, 1]


@contextmanager
def process(port: int, store: str) -> Iterator[subprocess.Popen[bytes]]:
    """The service as a process of its own, killed at the end."""
    environment = os.environ | {"NUCLEATE_STORE": store, "NUCLEATE_PORT": str(port), "NUCLEATE_THREADS": "1"}
    environment |= {"NUCLEATE_DEVICE": "cpu", "NUCLEATE_LOG_LEVEL": "error"}
    child = subprocess.Popen([sys.executable, "-m", "nucleate.interactive"], env=environment)
    try:
        yield child
    finally:
        child.kill()
        child.wait()


@pytest.mark.parametrize("surface", ["blocking", "asyncio-stream"])
def test_a_session_survives_kill_9(bench: Any, surface: str):
    rgb, instances = draw_nuclei(SIZE, 9, 5)
    first, second = centres(instances)[:2]
    with Client(bench.servers[0].endpoint, model=bench.model) as undisturbed, undisturbed.open(rgb) as session:
        wanted = [session.click(*first).runs, session.click(*second, positive=False).runs]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with connect(surface, f"127.0.0.1:{port}", model=bench.model, timeout=120) as client:
        client_contact(client)
        with process(port, bench.store) as child:
            session = client.open(rgb)
            assert session.click(*first).runs == wanted[0]
            child.send_signal(signal.SIGKILL)
            child.wait()
        with process(port, bench.store):
            assert session.click(*second, positive=False).runs == wanted[1]
            assert len(session.clicks) == 2


def client_contact(client: Any) -> None:
    """Have the client wait for a service that has just been started as for one that it knows."""
    getattr(client, "target", client)._connection.reachability.reached = True


EXAMPLES = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "client.md").read_text(), re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES, ids=["blocking", "asyncio", "resume"])
def test_the_examples_of_the_manual(bench: Any, example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "slide.png").write_bytes(encode_png(draw_nuclei(SIZE, 9, 5)[0]))
    replaced = {"127.0.0.1:50054": bench.servers[0].endpoint, "model:sha256/ab/abcd": store_model(bench.model, bench.blobs)}
    for shown, real in replaced.items():
        assert shown in example
        example = example.replace(shown, real)
    exec(compile(example, "client.md", "exec"), {"__name__": "example"})


def test_the_client_needs_no_array_library(tmp_path: Path):
    script = """
import sys, time
import nucleate.client
assert "grpc" not in sys.modules
from nucleate.client import AsyncClient, Client
with Client("127.0.0.1:1") as client:
    pass
heavy = {"numpy", "torch", "cv2", "scipy", "skimage", "PIL"} & sys.modules.keys()
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", script], check=True, cwd=tmp_path, timeout=60)

"""Both clients against a scripted service: what they ask, what they make of answers, and what they repeat."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.certificates import self_signed
from tests.unit.client.scripted import LOSE, SIZE, Scripted, serving
from tests.unit.client.surfaces import SURFACES, connect

from nucleate import errors
from nucleate.client import AsyncClient
from nucleate.runtime.server import RunningServer
from nucleate.v1 import common_pb2
from nucleate.v1 import interactive_pb2 as pb

IMAGE = common_pb2.Image(id="slide", data=common_pb2.Blob(uri="sha256/ab/abc"))


class Service:
    """The scripted service and a client of it."""

    def __init__(self, server: RunningServer, servicer: Scripted, surface: str) -> None:
        self.server, self.servicer, self.surface = server, servicer, surface
        self.client = self.connect()

    def connect(self, **settings: Any) -> Any:
        return connect(self.surface, self.server.endpoint, **({"timeout": 10} | settings))

    def open(self, **arguments: Any) -> Any:
        session = self.client.open(IMAGE, **arguments)
        self.servicer.seen.clear()
        return session


@pytest.fixture(params=SURFACES)
def service(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Service]:
    servicer = Scripted()
    with serving(tmp_path, servicer) as server:
        service = Service(server, servicer, request.param)
        yield service
        service.client.close()


def area(session: Any, number: int) -> int:
    return session.objects[number].mask.area


class TestSession:
    def test_clicks_make_objects(self, service: Service):
        with service.open() as session:
            mask = session.click(20, 30)
            assert (mask.box, mask.area, mask.object_id) == ((19, 29, 3, 3), 9, 1)
            assert (mask.confidence, mask.clicks_obeyed, mask.honoured) == (0.75, True, (True,))
            assert (mask.milliseconds, mask.spent.refining, mask.probability) == (5.0, 4.0, None)
            assert session.click(20, 31, positive=False, probability=True).probability.values == b"\x80" * 4
            assert session.clicks == ((20, 30, True), (20, 31, False))
            assert (session.working.id, session.working.clicks, area(session, 1)) == (1, 2, 25)
            assert session.accept() == 1
            assert (session.working, session.clicks, session.sequence) == (None, (), 4)
            assert session.objects[1].clicks == 2

    def test_undo_and_redo_of_every_kind_of_change(self, service: Service):
        with service.open() as session:
            steps: list[Callable[[], Any]] = [
                lambda: session.click(20, 20),
                lambda: session.click(21, 20),
                session.accept,
                lambda: session.click_many([(5, 5), (10, 10), (SIZE, 0)]),
                session.propose,
                lambda: session.select(1),
                lambda: session.click(22, 20),
                session.accept,
                lambda: session.select(4),
                lambda: session.delete(4),
                lambda: session.delete(2),
                lambda: session.click(40, 40),
                lambda: session.delete(5),
            ]
            states = [self.state_of(session, service)]
            for step in steps:
                step()
                states.append(self.state_of(session, service))
            for expected in states[-2::-1]:
                session.undo()
                assert self.state_of(session, service) == expected
            with pytest.raises(errors.Precondition):
                session.undo()
            for expected in states[1:]:
                session.redo()
                assert self.state_of(session, service) == expected

    @staticmethod
    def state_of(session: Any, service: Service) -> Any:
        """What the client knows, after comparing it with what the service says."""
        seen = (session.objects, session.working, session.clicks)
        with service.client.resume(session.id) as fresh:
            assert (fresh.objects, fresh.working, fresh.clicks) == seen
        return seen

    def test_many_clicks_and_proposals(self, service: Service):
        with service.open() as session:
            first, refused = session.click_many(iter([(5, 5), (SIZE + 1, 5)]))
            assert (first.id, first.mask.area, first.refused) == (1, 9, "")
            assert (refused.id, refused.mask, refused.refused) == (0, None, "outside")
            (proposed,) = session.propose()
            assert (proposed.id, proposed.clicks) == (2, 0)
            assert list(session.objects) == [1, 2]

    def test_close_draws_the_map(self, service: Service):
        session = service.open(window=(8, 8, 48, 40))
        session.click_many([(12, 12), (8, 30), (63, 63)])
        result = session.close()
        assert (result.clicks, result.nuclei, result.seconds, session.closed) == (7, 3, 1.5, True)
        labels = np.asarray(result.instances)
        assert labels.shape == (40, 48)
        assert labels.dtype == np.int32
        assert (labels[4, 4], labels[22, 0], labels.max(), result.instances.nuclei) == (1, 2, 2, 2)
        assert session.close().clicks == 7

    def test_an_object_in_work_is_not_closed_over(self, service: Service):
        with service.open() as session:
            session.click(5, 5)
            with pytest.raises(errors.Precondition, match="in work"):
                session.close()
            session.accept()
            assert session.close().nuclei == 1

    def test_bad_arguments_are_refused_before_anything_is_sent(self, service: Service):
        with service.open() as session:
            for x, y in ((-1, 5), (5, 2**32), (1.5, 5), ("a", 5)):
                with pytest.raises(errors.InvalidInput):
                    session.click(x, y)
            with pytest.raises(errors.InvalidInput):
                session.select(-1)
            assert not service.servicer.seen
            assert session.click(np.int64(5), np.uint8(6)).object_id == 1
        for window in ((0, 0, 0, 5), (-1, 0, 5, 5)):
            with pytest.raises(errors.InvalidInput, match="window"):
                service.open(window=window)


class TestOpening:
    def test_says_what_to_open_and_how(self, service: Service):
        proposals, refinement = common_pb2.Blob(uri="sha256/cd/cde"), pb.Refinement(most_evaluations=3)
        arguments = {"window": (1, 2, 30, 40), "proposals": proposals, "refinement": refinement, "session_id": "mine"}
        session = service.open(model="model:sha256/ef/efg", **arguments)
        assert (session.id, session.window) == ("mine", (1, 2, 30, 40))
        window = common_pb2.Window(x=1, y=2, width=30, height=40)
        wanted = {"session_id": "mine", "image": IMAGE, "window": window, "proposals": proposals, "refinement": refinement}
        assert service.servicer.opened == pb.OpenSessionRequest(model_ref="model:sha256/ef/efg", **wanted)
        model = common_pb2.Model(kind="interactive")
        service.open(model=model)
        assert service.servicer.opened.model == model

    def test_pictures_travel_in_chunks(self, service: Service, tmp_path: Path):
        pixels = np.random.default_rng(0).integers(0, 256, (800, 1000, 3), np.uint8)
        with service.client.open(pixels[:, ::-1], image_id="noise") as session:
            assert session.window == (0, 0, SIZE, SIZE)
        stored = service.client.put_image(pixels[:, ::-1], "noise")
        assert (stored.reference.id, stored.width, stored.height) == ("noise", SIZE, SIZE)
        sent = service.servicer.images["noise"]
        assert len(sent) > 2 << 20
        (tmp_path / "a slide.png").write_bytes(sent)
        assert service.client.put_image(tmp_path / "a slide.png").reference.id == "a slide"
        assert service.servicer.images["a slide"] == sent

    def test_resume(self, service: Service):
        with service.open() as session:
            session.click(20, 20)
        with service.connect() as other, other.resume(session.id) as resumed:
            assert (resumed.working.id, resumed.clicks, resumed.sequence) == (1, ((20, 20, True),), 2)
            assert resumed.click(21, 20).area == 25
        with pytest.raises(errors.NotFound):
            service.client.resume("nobody")


class TestRepeating:
    def test_an_overloaded_service_is_asked_again_when_it_says(self, service: Service):
        service.servicer.script = [errors.Overloaded("busy", retry_after=0.3)] * 2
        began = time.monotonic()
        session = service.open()
        assert 0.6 <= time.monotonic() - began < 3
        service.servicer.script = [errors.Overloaded("busy", retry_after=0.4)]
        began = time.monotonic()
        session.click(5, 5)
        assert 0.4 <= time.monotonic() - began < 2
        assert service.servicer.seen == ["Click"] * 2

    def test_but_not_beyond_the_timeout(self, service: Service):
        with service.connect(timeout=1) as client, client.open(IMAGE) as session:
            service.servicer.script = [errors.Overloaded("busy", retry_after=30)] * 2
            with pytest.raises(errors.Overloaded, match="busy"):
                session.click(5, 5)
            service.servicer.script.clear()
            assert session.click(5, 5).object_id == 1

    def test_a_limit_is_not_an_overload(self, service: Service):
        session = service.open()
        service.servicer.script = [errors.TooLarge("64 clicks")]
        with pytest.raises(errors.TooLarge, match="64 clicks"):
            session.click(5, 5)
        assert service.servicer.seen == ["Click"]

    def test_a_lost_answer_is_asked_for_again(self, service: Service):
        session = service.open()
        service.servicer.script = [LOSE]
        assert session.click(5, 5).object_id == 1
        assert (session.clicks, session.sequence, len(service.servicer.log)) == (((5, 5, True),), 2, 1)

    def test_after_giving_up_the_same_call_still_counts_once(self, service: Service):
        with service.connect(timeout=0.2) as client, client.open(IMAGE) as session:
            service.servicer.script = [LOSE, *[errors.Unreachable("away")] * 20]
            with pytest.raises(errors.Unreachable):
                session.click(5, 5)
            service.servicer.script.clear()
            assert session.click(5, 5).area == 9
            assert (session.sequence, len(service.servicer.log)) == (2, 1)

    def test_after_giving_up_another_call_first_reads_the_session(self, service: Service):
        with service.connect(timeout=0.2) as client, client.open(IMAGE) as session:
            service.servicer.script = [LOSE, *[errors.Unreachable("away")] * 20]
            with pytest.raises(errors.Unreachable):
                session.click(5, 5)
            service.servicer.script.clear()
            service.servicer.seen.clear()
            assert session.click(7, 7).area == 25
            assert service.servicer.seen == ["GetSession", "Click"]
            assert (session.clicks, session.sequence) == (((5, 5, True), (7, 7, True)), 3)

    def test_somebody_else_s_changes_are_read_and_told(self, service: Service):
        session = service.open()
        with service.client.resume(session.id) as other:
            other.click_many([(30, 30)])
        with pytest.raises(errors.SessionConflict, match="read again"):
            session.click(5, 5)
        assert (list(session.objects), session.sequence) == ([1], 2)
        assert session.click(5, 5).object_id == 2
        with service.client.resume(session.id) as other:
            other.accept()
        session.refresh()
        assert session.working is None

    def test_an_internal_fault_is_not_repeated(self, service: Service):
        session = service.open()
        service.servicer.script = [KeyError("secret")]
        with pytest.raises(errors.NucleateError, match="internal error, reference"):
            session.click(5, 5)
        assert session.click(5, 5).object_id == 1

    def test_a_service_that_comes_back_is_waited_for(self, service: Service, tmp_path: Path):
        session = service.open()
        session.click(5, 5)
        port = service.server.port
        service.server.stop()
        with later(lambda: serving(tmp_path, service.servicer, port=port), seconds=0.5):
            assert session.click(6, 5).area == 25
            assert (session.sequence, len(service.servicer.log)) == (3, 2)

    def test_a_service_that_never_was_there_is_given_up_soon(self, service: Service, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr("nucleate.client.interactive.retries.FIRST_PATIENCE_S", 0.5)
        began = time.monotonic()
        with connect(service.surface, "127.0.0.1:1") as client, pytest.raises(errors.Unreachable):
            client.open(IMAGE)
        assert time.monotonic() - began < 3

    def test_a_late_answer_is_given_up_and_counts_once(self, service: Service):
        with service.connect(timeout=0.5) as client, client.open(IMAGE) as session:
            session.click(5, 5)
            service.servicer.script = [1.0]
            began = time.monotonic()
            with pytest.raises(errors.Unreachable, match="did not answer in time"):
                session.click(6, 5)
            assert time.monotonic() - began < 0.9
            time.sleep(1.0)
            assert session.click(6, 5).area == 25
            assert session.click(7, 5).area == 49
            assert (session.sequence, len(service.servicer.log)) == (4, 3)


@pytest.mark.parametrize("stream", [False, True])
def test_a_cancelled_task_leaves_the_session_sound(tmp_path: Path, stream: bool):
    servicer = Scripted()

    async def annotate(endpoint: str) -> None:
        async with AsyncClient(endpoint, stream=stream) as client, client.open(IMAGE) as session:
            await session.click(5, 5)
            servicer.script = [0.4]
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(session.click(6, 5), 0.1)
            await asyncio.sleep(0.6)
            mask = await session.click(7, 5)
            assert (mask.area, session.sequence, len(session.clicks)) == (49, 4, 3)
            results = await asyncio.gather(*(session.click(x, 9) for x in range(3)))
            assert [result.area for result in results] == [81, 121, 144]

    with serving(tmp_path, servicer) as server:
        asyncio.run(annotate(server.endpoint))


@pytest.mark.parametrize("stream", [False, True])
def test_a_stream_lost_before_the_loop_hears_of_it(tmp_path: Path, stream: bool):
    servicer = Scripted()

    async def annotate(server: RunningServer) -> None:
        async with AsyncClient(server.endpoint, stream=stream) as client, client.open(IMAGE) as session:
            await session.click(5, 5)
            server.stop()  # the loop stands still meanwhile: the client writes before it has read that the stream ended
            with serving(tmp_path, servicer, port=server.port):
                assert (await session.click(6, 5)).area == 25
                assert (session.sequence, len(servicer.log)) == (3, 2)

    with serving(tmp_path, servicer) as server:
        asyncio.run(annotate(server))


@pytest.mark.parametrize("stream", [False, True])
def test_a_session_outlives_its_client(tmp_path: Path, stream: bool):
    async def annotate(server: RunningServer) -> None:
        async with AsyncClient(server.endpoint, stream=stream) as client, client.open(IMAGE) as session:
            await session.click(5, 5)
            await client.close()

    with serving(tmp_path, Scripted()) as server:
        asyncio.run(annotate(server))


class TestStream:
    def test_one_stream_serves_a_session_until_it_breaks(self, service: Service):
        with service.open() as session:
            for x in range(3):
                session.click(x, 5)
            with pytest.raises(errors.InvalidInput):
                session.delete(1) or session.click(5, 5, positive=False)
            assert service.servicer.streams == int(service.surface.endswith("stream"))
            service.servicer.script = [LOSE]
            session.click(9, 9)
            assert service.servicer.streams == 2 * int(service.surface.endswith("stream"))


class TestSecurity:
    def test_token_and_tls(self, service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        pair, servicer = self_signed(tmp_path), Scripted()
        with serving(tmp_path, servicer, tls_cert=pair.cert, tls_key=pair.key, token="sesame") as server:

            def attempt(**security: Any) -> int:
                with connect(service.surface, server.endpoint, timeout=5, **security) as client:
                    assert "sesame" not in repr(client)
                    with client.open(IMAGE) as session:
                        return session.click(5, 5).object_id

            assert attempt(ca=pair.cert, token="sesame") == 1
            with pytest.raises(errors.Unauthenticated, match="does not know that token"):
                attempt(ca=str(pair.cert), token="wrong")
            with pytest.raises(errors.Unauthenticated, match="asks for a token"):
                attempt(ca=pair.cert)
            with pytest.raises(errors.Precondition, match="no known authority signed"):
                attempt(tls=True, token="sesame")
            monkeypatch.setattr("nucleate.client.interactive.retries.FIRST_PATIENCE_S", 0.3)
            with pytest.raises(errors.Unreachable, match="if it speaks TLS"):
                attempt(token="sesame")
            monkeypatch.setenv("NUCLEATE_TLS_CA", str(pair.cert))
            monkeypatch.setenv("NUCLEATE_TOKEN", "sesame")
            monkeypatch.setenv("NUCLEATE_ENDPOINT_INTERACTIVE", server.endpoint)
            assert attempt() == 1
            with connect(service.surface) as client:
                assert client.open(IMAGE).click(5, 5).object_id == 1
            with pytest.raises(errors.Unauthenticated):
                attempt(token="")
        with service.connect() as client, pytest.raises(errors.Precondition, match="does not speak TLS"):
            client.open(IMAGE)
        with service.connect(tls=False) as client:
            assert client.open(IMAGE).click(5, 5).object_id == 1


@contextmanager
def later(make: Callable[[], Any], seconds: float) -> Iterator[None]:
    """Enter a context from another thread after some time."""
    entered, end = threading.Event(), threading.Event()

    def run() -> None:
        time.sleep(seconds)
        with make():
            entered.set()
            end.wait(30)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
        assert entered.is_set()
    finally:
        end.set()
        thread.join()

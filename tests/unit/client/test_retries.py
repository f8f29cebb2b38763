"""What both clients repeat, when, and when they give up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.unit.client.scripted import LOSE, serving
from tests.unit.client.surfaces import IMAGE, Service, connect

from nucleate import errors
from nucleate.client.interactive.retries import UNREACHED_RETRY_S, Reachability, RetrySchedule


class TestRetries:
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
        monkeypatch.setattr("nucleate.client.interactive.retries.UNREACHED_RETRY_S", 0.5)
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


class TestRetrySchedule:
    def test_waits_longer_each_time_and_as_long_as_the_service_says(self):
        schedule = RetrySchedule(Reachability(reached=True), 100.0, 100.0)
        waits = [schedule.backoff_s(errors.Unreachable("away")) for _ in range(8)]
        for wait, least in zip(waits, (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0), strict=True):
            assert least <= wait <= 1.25 * least
        assert 7 <= schedule.backoff_s(errors.Overloaded("busy", retry_after=7)) <= 7 * 1.25

    def test_ends_with_the_error_itself(self):
        for error in (errors.InvalidInput("x"), errors.TooLarge("x"), errors.SessionConflict("x"), errors.NucleateError("x")):
            with pytest.raises(type(error)):
                RetrySchedule(Reachability(reached=True), 100.0, 100.0).backoff_s(error)
        with pytest.raises(errors.Overloaded):
            RetrySchedule(Reachability(reached=True), 1.0, 300.0).backoff_s(errors.Overloaded("busy", retry_after=1))

    def test_is_less_patient_with_a_service_that_was_never_heard(self, monkeypatch: pytest.MonkeyPatch):
        began = time.monotonic()
        reachability = Reachability()
        schedule = RetrySchedule(reachability, 100.0, 300.0)
        monkeypatch.setattr(time, "monotonic", lambda: began + UNREACHED_RETRY_S)
        with pytest.raises(errors.Unreachable):
            schedule.backoff_s(errors.Unreachable("away"))
        reachability.reached = True
        assert schedule.backoff_s(errors.Unreachable("away")) < 1
        assert schedule.remaining_s == pytest.approx(300 - UNREACHED_RETRY_S, abs=0.1)


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

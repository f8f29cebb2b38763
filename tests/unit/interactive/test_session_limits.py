"""Queues, limits, memory and age: what a busy or long-lived service refuses, and what it forgets."""

from __future__ import annotations

import threading
import time

import pytest
from tests.unit.interactive.fake_session import DiskPredictor, fake_sessions

from nucleate import errors
from nucleate.interactive.clicks import Click
from nucleate.interactive.networks.network_input import PLANES
from nucleate.interactive.sessions import session as session_module
from nucleate.interactive.sessions.backpressure import ConcurrencyLimiter
from nucleate.interactive.sessions.event_log import OPEN, Event, SessionLog
from nucleate.interactive.sessions.session import Limits
from nucleate.interactive.sessions.session_cache import CacheLimits, SessionCache
from nucleate.runtime.store.memory import MemoryStore

AT = Click(20, 20, positive=True)


def in_threads(count: int, work) -> list[threading.Thread]:
    threads = [threading.Thread(target=work, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    return threads


def until(condition) -> None:
    ends = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.002)


class TestConcurrencyLimiter:
    @pytest.mark.parametrize("slots", [1, 2])
    def test_calls_come_in_order_and_never_more_at_once_than_slots(self, slots):
        limiter, order, inside, most = ConcurrencyLimiter(slots, 10), [], [], []
        holding, done = [], threading.Event()

        def hold(n):
            with limiter.slot():
                holding.append(n)
                done.wait(5)

        def work(n):
            with limiter.slot() as waited:
                order.append(n)
                inside.append(n)
                most.append(len(inside))
                time.sleep(0.002)
                inside.remove(n)
                assert waited > 0

        threads = in_threads(slots, hold)
        until(lambda: len(holding) == slots)
        for n in range(6):
            threads += in_threads(1, lambda _, n=n: work(n))
            until(lambda n=n: limiter.waiting == n + 1)
        done.set()
        for thread in threads:
            thread.join(5)
        assert sorted(order) == list(range(6))
        assert slots > 1 or order == sorted(order)
        assert max(most) <= slots
        with limiter.slot() as waited:
            assert waited < 100

    def test_a_full_queue_is_refused_with_a_time_to_retry_after_and_a_cancelled_caller_leaves_it(self):
        limiter, gone = ConcurrencyLimiter(1, 1), threading.Event()
        cancelled: list[bool] = []

        def wait(_):
            with pytest.raises(errors.Cancelled), limiter.slot(gone.is_set):
                pass
            cancelled.append(True)

        with limiter.slot():
            (thread,) = in_threads(1, wait)
            until(lambda: limiter.waiting == 1)
            with pytest.raises(errors.Overloaded, match="1 calls are in line") as refusal, limiter.slot():
                pass
            assert refusal.value.retry_after >= 0.05
            gone.set()
            thread.join(5)
            assert cancelled == [True]
            assert limiter.waiting == 0
        with limiter.slot() as waited:
            assert waited < 100


class TestLimits:
    def test_clicks_objects_and_events(self):
        sessions = fake_sessions(MemoryStore(), limits=Limits(clicks=2, objects=2, events=6))
        sessions.open("s", "{}")
        sessions.click("s", 1, AT)
        sessions.click("s", 2, Click(30, 20, positive=True))
        with pytest.raises(errors.TooLarge, match="has 2 clicks, the most"):
            sessions.click("s", 3, Click(32, 20, positive=True))
        sessions.accept("s", 3)
        with pytest.raises(errors.TooLarge, match="a session takes at most 2"):
            sessions.click_many("s", 4, [Click(20, 40, positive=True), Click(40, 40, positive=True)])
        sessions.click("s", 4, Click(40, 40, positive=True))
        sessions.accept("s", 5)
        with pytest.raises(errors.TooLarge, match="has 6 changes, the most"):
            sessions.delete("s", 6, 1)
        assert sessions.close("s").outcome["nuclei"] == 2

    @pytest.mark.parametrize("count", [0, 1025])
    def test_a_batch_has_one_to_1024_clicks(self, count):
        sessions = fake_sessions(MemoryStore())
        sessions.open("s", "{}")
        with pytest.raises(errors.InvalidInput, match="give 1 to 1024"):
            sessions.click_many("s", 1, [AT] * count)

    def test_an_idle_session_expires_and_a_closed_one_stays_readable(self, monkeypatch):
        store, now = MemoryStore(), time.time()
        for name in ("idle", "closed", "used"):
            SessionLog(store, name).append(0, Event(OPEN, {"request": "{}"}, {}, now - 110))
        sessions, other = (fake_sessions(store, limits=Limits(seconds=100)) for _ in range(2))
        monkeypatch.setattr(session_module.time, "time", lambda: now - 50)
        assert sessions.get("used").state.sequence == 1
        closing = sessions.close("closed")
        first = other.click("used", 1, AT)
        monkeypatch.undo()
        for refused in (lambda: sessions.get("idle"), lambda: sessions.click("idle", 1, AT), lambda: sessions.close("idle")):
            with pytest.raises(errors.SessionExpired, match="open a new one"):
                refused()
        assert sessions.close("closed") == closing
        assert sessions.get("closed").state.closing == closing
        assert sessions.click("used", 1, AT).outcome == first.outcome  # it has to read that another replica used it

    def test_nothing_is_written_when_the_work_fails_or_is_cancelled(self):
        predictor, gone = DiskPredictor(seconds=5), threading.Event()
        sessions = fake_sessions(MemoryStore(), predictor)
        sessions.open("s", "{}")

        def click(_):
            with pytest.raises(errors.Cancelled):
                sessions.click("s", 1, AT, gone.is_set)

        (thread,) = in_threads(1, click)
        until(lambda: predictor.calls)
        gone.set()
        thread.join(5)
        assert not thread.is_alive()
        predictor.seconds, predictor.fault = 0, ValueError("a fault")
        with pytest.raises(ValueError, match="a fault"):
            sessions.click("s", 1, AT)
        predictor.fault = None
        assert sessions.get("s").state.sequence == 1
        assert sessions.click("s", 1, AT).sequence == 2


class TestSessionCache:
    def sessions(self, clock, **limits):
        store = MemoryStore()
        cache = SessionCache(CacheLimits(**limits), clock)
        sessions = fake_sessions(store)
        sessions._cache = cache
        return sessions, cache

    def test_the_least_recently_used_sessions_leave_the_memory_and_come_back_from_their_log(self):
        sessions, cache = self.sessions(time.monotonic, sessions=2)
        for name in "abc":
            sessions.open(name, "{}")
            sessions.click(name, 1, AT)
        assert len(cache) == 2
        assert sessions._opener.opened == 3
        assert sessions.get("a").state.active.mask.contains(20, 20)
        assert sessions._opener.opened == 4

    def test_bytes_are_bounded_and_the_session_in_use_stays(self):
        sessions, cache = self.sessions(time.monotonic, nbytes=1)
        for name in "ab":
            sessions.open(name, "{}")
        assert len(cache) == 1
        assert cache.find("b")
        assert cache.nbytes == 60 * 72 * (3 + PLANES) + 4 * 48 * 40

    def test_idle_sessions_are_dropped(self):
        now = [0.0]
        sessions, cache = self.sessions(lambda: now[0], idle_seconds=10.0)
        sessions.open("a", "{}")
        now[0] = 9.0
        sessions.open("b", "{}")
        cache.evict_idle()
        assert len(cache) == 2
        now[0] = 12.0
        cache.evict_idle()
        assert (cache.find("a"), len(cache)) == (None, 1)

    def test_many_callers_build_a_session_once(self):
        store = MemoryStore()
        fake_sessions(store).open("s", "{}")
        sessions = fake_sessions(store)
        for thread in in_threads(8, lambda _: sessions.get("s")):
            thread.join(5)
        assert sessions._opener.opened == 1

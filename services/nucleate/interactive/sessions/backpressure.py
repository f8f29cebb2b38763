"""Backpressure: a limit of calls at once, a bounded queue, and a refusal with a time to retry after beyond."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from nucleate import errors
from nucleate.interactive.cancellation import CancellationCheck

_POLL_SECONDS = 0.05  # between checks whether a queued caller has gone
_SMOOTHING = 0.1  # of the exponential moving average of the seconds that a slot is held


class ConcurrencyLimiter:
    """`slots` calls at once, at most `max_waiting` in a first-in, first-out queue."""

    def __init__(self, slots: int, max_waiting: int, initializer: Callable[[], None] = lambda: None) -> None:
        """`initializer` is called by every thread that has a slot, before its work."""
        self._free, self._slots, self._max_waiting, self._initializer = slots, slots, max_waiting, initializer
        self._queue: deque[threading.Event] = deque()
        self._lock = threading.Lock()
        self._seconds = 0.1

    @property
    def waiting(self) -> int:
        """Callers in the queue."""
        return len(self._queue)

    @contextmanager
    def slot(self, cancelled: CancellationCheck | None = None, *, admitted: bool = False) -> Iterator[float]:
        """Wait for a slot and hold it; yields the milliseconds waited. One `admitted` before may wait however long the queue.

        Raises:
            errors.Overloaded: the queue is full.
            errors.Cancelled: `cancelled` said so while waiting.
        """
        asked = time.perf_counter()
        self._acquire(cancelled, admitted=admitted)
        entered = time.perf_counter()
        try:
            self._initializer()
            yield 1000 * (entered - asked)
        finally:
            self._release(time.perf_counter() - entered)

    def _acquire(self, cancelled: CancellationCheck | None, *, admitted: bool) -> None:
        with self._lock:
            if self._free:
                self._free -= 1
                return
            if len(self._queue) >= self._max_waiting and not admitted:
                raise errors.Overloaded(f"{len(self._queue)} calls are in line already: call again later", self._retry_after())
            ticket = threading.Event()
            self._queue.append(ticket)
        while not ticket.wait(_POLL_SECONDS if cancelled else None):
            if cancelled and cancelled() and self._withdraw(ticket):
                raise errors.Cancelled("the call was cancelled while it waited")

    def _withdraw(self, ticket: threading.Event) -> bool:
        """Leave the queue; False when a slot was given meanwhile."""
        with self._lock:
            if ticket.is_set():
                return False
            self._queue.remove(ticket)
            return True

    def _release(self, seconds: float) -> None:
        with self._lock:
            self._seconds += _SMOOTHING * (seconds - self._seconds)
            if self._queue:
                self._queue.popleft().set()
            else:
                self._free += 1

    def _retry_after(self) -> float:
        """Seconds after which half of the queue will have had a slot."""
        return max(0.05, self._seconds * (1 + len(self._queue) / 2) / self._slots)

"""Backpressure: so many pieces of work at once, so many in line, and a refusal with a hint beyond."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from nucleate import errors

Cancelled = Callable[[], bool]
_LOOK_EVERY = 0.05  # seconds between looks whether a caller in line has gone
_SHARE = 0.1  # weight of the latest turn in the running mean of their length


class Gate:
    """Turns in the order of asking: `places` at once, at most `most_waiting` callers in line."""

    def __init__(self, places: int, most_waiting: int, prepare: Callable[[], None] = lambda: None) -> None:
        """`prepare` is called by every thread that has its turn, before its work."""
        self._free, self._places, self._most_waiting, self._prepare = places, places, most_waiting, prepare
        self._line: deque[threading.Event] = deque()
        self._lock = threading.Lock()
        self._seconds = 0.1

    @property
    def waiting(self) -> int:
        """Callers in line."""
        return len(self._line)

    @contextmanager
    def turn(self, cancelled: Cancelled | None = None, *, begun: bool = False) -> Iterator[float]:
        """Wait for a place and hold it; yields the milliseconds waited. Work that has `begun` may wait however long the line.

        Raises:
            errors.Overloaded: the line is full.
            errors.Cancelled: `cancelled` said so while waiting.
        """
        asked = time.perf_counter()
        self._enter(cancelled, begun=begun)
        entered = time.perf_counter()
        try:
            self._prepare()
            yield 1000 * (entered - asked)
        finally:
            self._leave(time.perf_counter() - entered)

    def _enter(self, cancelled: Cancelled | None, *, begun: bool) -> None:
        with self._lock:
            if self._free:
                self._free -= 1
                return
            if len(self._line) >= self._most_waiting and not begun:
                raise errors.Overloaded(f"{len(self._line)} calls are in line already: call again later", self._hint())
            place = threading.Event()
            self._line.append(place)
        while not place.wait(_LOOK_EVERY if cancelled else None):
            if cancelled and cancelled() and self._left_line(place):
                raise errors.Cancelled("the call was cancelled while it waited")

    def _left_line(self, place: threading.Event) -> bool:
        """Give the place in line up; False when its turn has come meanwhile."""
        with self._lock:
            if place.is_set():
                return False
            self._line.remove(place)
            return True

    def _leave(self, seconds: float) -> None:
        with self._lock:
            self._seconds += _SHARE * (seconds - self._seconds)
            if self._line:
                self._line.popleft().set()
            else:
                self._free += 1

    def _hint(self) -> float:
        """Seconds after which half of the line will have had its turn."""
        return max(0.05, self._seconds * (1 + len(self._line) / 2) / self._places)

"""Sessions in memory: the latest few, within a limit of bytes, as long as they are used."""

from __future__ import annotations

import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from nucleate.interactive.sessions.session import Session


@dataclass(frozen=True)
class CacheLimits:
    """Most sessions, most bytes of their images and maps together, and seconds without a call after which one is dropped."""

    sessions: int = 256
    nbytes: int = 1 << 30
    idle_seconds: float = 1800.0


class SessionCache:
    """Sessions that need not be rebuilt from their log. Dropping one loses nothing."""

    def __init__(self, limits: CacheLimits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits, self._clock = limits, clock
        self._sessions: OrderedDict[str, tuple[Session, float]] = OrderedDict()
        self._building: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._sessions)

    @property
    def nbytes(self) -> int:
        """Bytes of their images, each counted once, and maps."""
        with self._lock:
            return self._nbytes()

    def _nbytes(self) -> int:
        images = {id(session.inputs.prepared): session.inputs.prepared for session, _ in self._sessions.values()}
        maps = sum(session.state.instances_HW.nbytes for session, _ in self._sessions.values())
        return maps + sum(image.nbytes for image in images.values())

    def find(self, session_id: str) -> Session | None:
        """The session, which counts as used."""
        with self._lock:
            found = self._sessions.get(session_id)
            if found is None:
                return None
            self._sessions[session_id] = (found[0], self._clock())
            self._sessions.move_to_end(session_id)
            return found[0]

    def get(self, session_id: str, build: Callable[[], Session]) -> Session:
        """The session, built if it is not here; of several callers one builds it and the others wait."""
        with self._lock:
            building = self._building.setdefault(session_id, threading.Lock())
        with building:
            try:
                return self.find(session_id) or self._insert(session_id, build())
            finally:
                with self._lock:
                    self._building.pop(session_id, None)

    def _insert(self, session_id: str, session: Session) -> Session:
        with self._lock:
            self._sessions[session_id] = (session, self._clock())
            while len(self._sessions) > 1 and (
                len(self._sessions) > self._limits.sessions or self._nbytes() > self._limits.nbytes
            ):
                self._sessions.popitem(last=False)
        return session

    def evict_idle(self) -> None:
        """Drop what has not been used for `idle_seconds`."""
        with self._lock:
            oldest = self._clock() - self._limits.idle_seconds
            for session_id in [name for name, (_, used) in self._sessions.items() if used < oldest]:
                del self._sessions[session_id]

    def start_eviction(self) -> None:
        """Drop idle sessions from time to time, in a thread that ends when these sessions are gone."""
        every = min(max(self._limits.idle_seconds / 4, 1.0), 60.0)
        threading.Thread(target=_evict_periodically, args=(weakref.ref(self), every), name="idle-sessions", daemon=True).start()


def _evict_periodically(reference: weakref.ref[SessionCache], every: float) -> None:
    while (cache := reference()) is not None:
        cache.evict_idle()
        del cache
        time.sleep(every)

"""The log of a session in the object store: one immutable object per event, numbered from 0.

Event n is written only if nobody has written an event n, so two replicas can never both go on from the same state. An event
holds the result of the call as well as its arguments: replaying a log runs no network and gives the same masks anywhere.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

from nucleate import errors

OPEN, CLICK, CLICK_MANY, PROPOSE, CLOSE = "open", "click", "click_many", "propose", "close"
UNDO, REDO, SELECT, DELETE, ACCEPT = "undo", "redo", "select", "delete", "accept"
MAX_READ_AHEAD = 32  # events
_READERS = ThreadPoolExecutor(16, thread_name_prefix="session-log")
_NAME = re.compile(r"[A-Za-z0-9._-]{1,160}")


class EventStore(Protocol):
    """The part of an object store that a log needs."""

    def put_new(self, key: str, data: bytes, media_type: str = "") -> bool:
        """Write unless the key exists; False = it did."""

    def get(self, key: str) -> bytes:
        """Read, or raise `errors.NotFound`."""


@dataclass(frozen=True)
class Event:
    """One call that changed a session: what was asked, what came of it, and when (seconds since 1970)."""

    kind: str
    arguments: Mapping[str, Any]
    outcome: Mapping[str, Any]
    time: float = field(default_factory=time.time)


class SessionLog:
    """Events of one session under `sessions/<id>/`."""

    def __init__(self, store: EventStore, session_id: str) -> None:
        if not _NAME.fullmatch(session_id) or set(session_id) == {"."}:
            raise errors.InvalidInput(f"session id {session_id[:80]!r}: use 1 to 160 of A-Z a-z 0-9 . _ -")
        self.session_id = session_id
        self._store = store

    def _key(self, sequence: int) -> str:
        return f"sessions/{self.session_id}/{sequence:08d}.json"

    def read(self, sequence: int) -> Event | None:
        """Event number `sequence`, or None when the log is not that long."""
        try:
            data = self._store.get(self._key(sequence))
        except errors.NotFound:
            return None
        try:
            return Event(**json.loads(data))
        except (ValueError, TypeError) as error:
            raise errors.CorruptBlob(f"session {self.session_id}: event {sequence} is damaged, open a new session") from error

    def follow(self, sequence: int) -> Iterator[Event]:
        """Events from number `sequence` on; the further it goes, the more are read at once, as a store takes its time."""
        width = 1
        while True:
            numbers = range(sequence, sequence + width)
            for event in map(self.read, numbers) if width == 1 else _READERS.map(self.read, numbers):
                if event is None:
                    return
                yield event
            sequence, width = sequence + width, min(2 * width, MAX_READ_AHEAD)

    def append(self, sequence: int, event: Event) -> bool:
        """Write event number `sequence`; False when somebody else has."""
        data = json.dumps(vars(event), sort_keys=True).encode()
        return self._store.put_new(self._key(sequence), data, "application/json")

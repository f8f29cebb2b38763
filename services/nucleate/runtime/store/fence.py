"""The view of a store that training gets: ground truth is out of reach, and what was read is on record."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from nucleate.errors import Fenced
from nucleate.runtime.store.keys import check_key, check_prefix
from nucleate.runtime.store.protocol import OCTETS, ObjectStore

SEALED = "sealed/"


class FencedStore:
    """Any store, less the keys below `forbidden`: touching one raises `Fenced`, listing passes over them.

    `opened` is the set of keys read through this view, for the audit in a run's record.
    """

    def __init__(self, store: ObjectStore, forbidden: tuple[str, ...] = (SEALED,)) -> None:
        self._store = store
        self.forbidden = forbidden
        self.opened: set[str] = set()

    def put(self, key: str, data: bytes, media_type: str = OCTETS) -> None:
        """Write or overwrite one object."""
        self._store.put(self._allowed(key), data, media_type)

    def put_new(self, key: str, data: bytes, media_type: str = OCTETS) -> bool:
        """Write only if the key is free; False means that it was taken."""
        return self._store.put_new(self._allowed(key), data, media_type)

    def get(self, key: str) -> bytes:
        """Return the object's bytes and record its key."""
        data = self._store.get(self._allowed(key))
        self.opened.add(key)
        return data

    def put_file(self, key: str, path: Path, media_type: str = OCTETS) -> None:
        """Write or overwrite one object from a file."""
        self._store.put_file(self._allowed(key), path, media_type)

    def get_file(self, key: str, path: Path) -> None:
        """Write the object's bytes to a file and record its key."""
        self._store.get_file(self._allowed(key), path)
        self.opened.add(key)

    def exists(self, key: str) -> bool:
        """Tell whether an object is stored under that key."""
        return self._store.exists(self._allowed(key))

    def list(self, prefix: str = "") -> Iterator[str]:
        """Yield the allowed keys that start with `prefix`."""
        if check_prefix(prefix).startswith(self.forbidden):
            raise Fenced(f"sealed ground truth cannot be listed from a training step: '{prefix}'")
        return (key for key in self._store.list(prefix) if not key.startswith(self.forbidden))

    def delete(self, key: str) -> None:
        """Remove the object; do nothing if there is none."""
        self._store.delete(self._allowed(key))

    def _allowed(self, key: str) -> str:
        if check_key(key).startswith(self.forbidden):
            raise Fenced(f"sealed ground truth cannot be opened from a training step: '{key}'")
        return key

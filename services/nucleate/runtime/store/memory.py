"""A dictionary as an object store: for tests and one-process trials."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

from nucleate.errors import NotFound
from nucleate.runtime.store.keys import check_key, check_prefix
from nucleate.runtime.store.protocol import OCTETS


class MemoryStore:
    """Objects in this process's memory; gone when it ends."""

    def __init__(self) -> None:
        self._objects: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def put(self, key: str, data: bytes, media_type: str = OCTETS) -> None:  # noqa: ARG002 - memory keeps no media types
        """Write or overwrite one object."""
        with self._lock:
            self._objects[check_key(key)] = bytes(data)

    def put_new(self, key: str, data: bytes, media_type: str = OCTETS) -> bool:  # noqa: ARG002
        """Write only if the key is free; False means that it was taken."""
        with self._lock:
            if check_key(key) in self._objects:
                return False
            self._objects[key] = bytes(data)
            return True

    def get(self, key: str) -> bytes:
        """Return the object's bytes; raise `NotFound` if there is none."""
        try:
            return self._objects[check_key(key)]
        except KeyError:
            raise NotFound(f"no object '{key}' in memory") from None

    def put_file(self, key: str, path: Path, media_type: str = OCTETS) -> None:
        """Write or overwrite one object from a file."""
        self.put(key, path.read_bytes(), media_type)

    def get_file(self, key: str, path: Path) -> None:
        """Write the object's bytes to a file."""
        path.write_bytes(self.get(key))

    def exists(self, key: str) -> bool:
        """Tell whether an object is stored under that key."""
        return check_key(key) in self._objects

    def list(self, prefix: str = "") -> Iterator[str]:
        """Yield the keys that start with `prefix`, sorted."""
        check_prefix(prefix)
        with self._lock:
            keys = sorted(self._objects)
        return (key for key in keys if key.startswith(prefix))

    def delete(self, key: str) -> None:
        """Remove the object; do nothing if there is none."""
        with self._lock:
            self._objects.pop(check_key(key), None)

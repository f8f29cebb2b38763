"""The interface of an object store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, runtime_checkable

OCTETS = "application/octet-stream"


@runtime_checkable
class ObjectStore(Protocol):
    """Bytes under keys. Every method raises `InvalidInput` on a bad key and `StoreUnreachable` when the store fails.

    A key is 1 to 900 characters: segments of [A-Za-z0-9._=+-], none of them "." or "..", joined by "/".
    Reads see whole objects only: a write that is cut off leaves what was there before.
    """

    def put(self, key: str, data: bytes, media_type: str = OCTETS) -> None:
        """Write or overwrite one object, atomically."""

    def put_new(self, key: str, data: bytes, media_type: str = OCTETS) -> bool:
        """Write only if the key is free; False means that it was taken and nothing was written. One racer wins."""

    def get(self, key: str) -> bytes:
        """Return the object's bytes; raise `NotFound` if there is none."""

    def put_file(self, key: str, path: Path, media_type: str = OCTETS) -> None:
        """Write or overwrite one object from a file, atomically and in bounded memory."""

    def get_file(self, key: str, path: Path) -> None:
        """Write the object's bytes to a file in bounded memory; raise `NotFound` if there is none."""

    def exists(self, key: str) -> bool:
        """Tell whether an object is stored under that key."""

    def list(self, prefix: str = "") -> Iterator[str]:
        """Yield the keys that start with `prefix`, sorted; it may end inside a segment."""

    def delete(self, key: str) -> None:
        """Remove the object; do nothing if there is none."""

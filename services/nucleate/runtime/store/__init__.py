"""One interface for stored bytes, `ObjectStore`, with three implementations: a local folder, memory, and any S3 server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nucleate.runtime.store.fence import FencedStore
from nucleate.runtime.store.folder import FolderStore
from nucleate.runtime.store.keys import check_key
from nucleate.runtime.store.memory import MemoryStore
from nucleate.runtime.store.open_store import open_store
from nucleate.runtime.store.protocol import ObjectStore

if TYPE_CHECKING:
    from nucleate.runtime.store.s3 import S3Store

__all__ = ["FencedStore", "FolderStore", "MemoryStore", "ObjectStore", "S3Store", "check_key", "open_store"]


def __getattr__(name: str) -> Any:
    """Import the S3 client only when it is asked for: it takes as long as all the rest."""
    if name == "S3Store":
        from nucleate.runtime.store.s3 import S3Store

        return S3Store
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

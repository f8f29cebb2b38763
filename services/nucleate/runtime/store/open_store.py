"""From a store's URL to the store."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from nucleate.errors import InvalidInput
from nucleate.runtime.settings import StoreSettings
from nucleate.runtime.store.folder import FolderStore
from nucleate.runtime.store.memory import MemoryStore
from nucleate.runtime.store.protocol import ObjectStore


def open_store(url: str, settings: StoreSettings | None = None) -> ObjectStore:
    """Open "file:///abs/folder", "memory:" (a new, empty one) or "s3://bucket".

    S3 takes its endpoint and keys from `settings`, by default the environment; the bucket is created if absent.

    Raises:
        InvalidInput: another form of URL, or S3 settings that are missing.
        StoreUnreachable: the server does not answer, or refuses the keys.
    """
    parts = urlsplit(url)
    if url == "memory:":
        return MemoryStore()
    if parts.scheme == "file" and not parts.netloc and parts.path.startswith("/"):
        return FolderStore(Path(unquote(parts.path)))
    if parts.scheme == "s3" and parts.netloc and parts.path in {"", "/"}:
        from nucleate.runtime.store.s3 import S3Store, s3_client  # slow to import, and most processes use a folder

        return S3Store(s3_client(settings or StoreSettings()), parts.netloc)
    raise InvalidInput(f"store '{url}' is not understood: use file:///abs/folder, memory: or s3://bucket")

"""A local folder as an object store: the embedded default."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from nucleate.errors import Conflict, NotFound, StoreUnreachable
from nucleate.runtime.store.keys import PARTIAL, check_key, check_prefix
from nucleate.runtime.store.protocol import OCTETS

STALE_SECONDS = 24 * 3600


class FolderStore:
    """Objects as files below `root`.

    Bytes are written and fsynced under `.partial/` first, then renamed (`put`) or hard-linked (`put_new`) into place:
    both are atomic, so a process killed half-way leaves no partial object and a race of `put_new` has one winner.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root).resolve()
        self._partial = self.root / PARTIAL
        with self._domain_errors():
            self._partial.mkdir(parents=True, exist_ok=True)
        self._remove_stale_partials()

    def put(self, key: str, data: bytes, media_type: str = OCTETS) -> None:  # noqa: ARG002 - a folder keeps no media types
        """Write or overwrite one object, atomically."""
        target = self._path(key)
        with self._domain_errors(key), self._partial_file_with(data) as partial:
            target.parent.mkdir(parents=True, exist_ok=True)
            partial.replace(target)
            _sync_folder(target.parent)

    def put_new(self, key: str, data: bytes, media_type: str = OCTETS) -> bool:  # noqa: ARG002
        """Write only if the key is free; False means that it was taken."""
        target = self._path(key)
        if target.is_file():
            return False
        with self._domain_errors(key), self._partial_file_with(data) as partial:
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(partial, target)
            except FileExistsError:
                if target.is_dir():
                    raise
                return False
            _sync_folder(target.parent)
        return True

    def get(self, key: str) -> bytes:
        """Return the object's bytes; raise `NotFound` if there is none."""
        path = self._path(key)
        with self._domain_errors(key):
            try:
                return path.read_bytes()
            except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
                raise NotFound(f"no object '{key}' in {self.root}") from None

    def put_file(self, key: str, path: Path, media_type: str = OCTETS) -> None:  # noqa: ARG002
        """Write or overwrite one object from a file, atomically."""
        target = self._path(key)
        with (
            self._domain_errors(key),
            path.open("rb") as source,
            self._partial_file(lambda file: shutil.copyfileobj(source, file)) as partial,
        ):
            target.parent.mkdir(parents=True, exist_ok=True)
            partial.replace(target)
            _sync_folder(target.parent)

    def get_file(self, key: str, path: Path) -> None:
        """Write the object's bytes to a file; raise `NotFound` if there is none."""
        source = self._path(key)
        with self._domain_errors(key):
            if not source.is_file():
                raise NotFound(f"no object '{key}' in {self.root}")
            shutil.copyfile(source, path)

    def exists(self, key: str) -> bool:
        """Tell whether an object is stored under that key."""
        return self._path(key).is_file()

    def list(self, prefix: str = "") -> Iterator[str]:
        """Yield the keys that start with `prefix`, sorted."""
        folder = self.root / check_prefix(prefix).rpartition("/")[0]
        keys = sorted(
            (Path(parent) / name).relative_to(self.root).as_posix()
            for parent, folders, names in os.walk(folder)
            if PARTIAL not in Path(parent).relative_to(self.root).parts[:1]
            for name in names
        )
        return (key for key in keys if key.startswith(prefix))

    def delete(self, key: str) -> None:
        """Remove the object; do nothing if there is none."""
        path = self._path(key)
        with self._domain_errors(key), contextlib.suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
            path.unlink()

    def _path(self, key: str) -> Path:
        return self.root.joinpath(*check_key(key).split("/"))

    def _partial_file_with(self, data: bytes) -> contextlib.AbstractContextManager[Path]:
        return self._partial_file(lambda file: file.write(data))

    @contextlib.contextmanager
    def _partial_file(self, write: Callable[[BinaryIO], object]) -> Iterator[Path]:
        """Give the path of a synced temporary file that `write` has filled; remove it afterwards if it is still there."""
        partial = self._partial / uuid.uuid4().hex
        try:
            with partial.open("xb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            yield partial
        finally:
            partial.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _domain_errors(self, key: str = "") -> Iterator[None]:
        """Turn the system's errors into domain errors."""
        try:
            yield
        except (FileExistsError, IsADirectoryError, NotADirectoryError):
            raise Conflict(f"store key '{key}' is a folder of other keys, or below another key, in {self.root}") from None
        except OSError as error:
            raise StoreUnreachable(f"object store {self.root} failed: {error.strerror}; check space and permissions") from error

    def _remove_stale_partials(self) -> None:
        """Remove what killed processes left half-written a day ago or earlier."""
        oldest = time.time() - STALE_SECONDS
        for path in self._partial.iterdir():
            with contextlib.suppress(OSError):
                if path.stat().st_mtime < oldest:
                    path.unlink()


def _sync_folder(folder: Path) -> None:
    """Make a rename or link in `folder` survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

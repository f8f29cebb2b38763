"""Content-addressed, immutable blobs on top of a store."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from nucleate.errors import CorruptBlob, InvalidInput, TooLarge
from nucleate.runtime.store.fence import SEALED, FencedStore
from nucleate.runtime.store.keys import quoted
from nucleate.runtime.store.protocol import ObjectStore
from nucleate.v1 import common_pb2

SHARED = "sha256/"
#: What an image may hold inline: messages end at 4 MiB.
MAX_INLINE = 2 << 20
_URI = re.compile(rf"({SHARED}|{SEALED})([0-9a-f]{{2}})/(\2[0-9a-f]{{62}})", re.ASCII)


class Blobs:
    """Reads and writes blobs by digest. `opened` is the set of uris read through this view."""

    def __init__(self, store: ObjectStore) -> None:
        self.store = store
        self.opened: set[str] = set()

    def put(
        self, data: bytes, media_type: str, *, sealed: bool = False, dtype: str = "", shape: Sequence[int] = ()
    ) -> common_pb2.Blob:
        """Store `data` under its SHA-256 and return the reference; the same bytes are stored once.

        `sealed` bytes are ground truth: they go where no fenced view can read them.
        """
        digest = hashlib.sha256(data).hexdigest()
        key = f"{SEALED if sealed else SHARED}{digest[:2]}/{digest}"
        # What is there already is compared, so that storing again heals an object that was damaged.
        taken = self.store.exists(key) or not self.store.put_new(key, data, media_type)
        if taken and self.store.get(key) != data:
            self.store.put(key, data, media_type)
        return common_pb2.Blob(
            uri=key, sha256=digest, size=len(data), media_type=media_type, dtype=dtype, shape=[int(side) for side in shape]
        )

    def get(self, blob: common_pb2.Blob) -> bytes:
        """Return the blob's bytes.

        Raises:
            InvalidInput: the uri is not that of a blob.
            NotFound: nothing is stored there.
            CorruptBlob: the bytes are not those that the reference describes.
            Fenced: a sealed blob, through a fenced view.
        """
        data = self.store.get(_checked_uri(blob))
        _check(blob, len(data), hashlib.sha256(data).hexdigest())
        self.opened.add(blob.uri)
        return data

    def content(self, image: common_pb2.Image) -> bytes:
        """Return an image's encoded bytes: those it holds inline, or else its blob's.

        Raises:
            InvalidInput: it has both.
            TooLarge: more than 2 MiB inline.
            And whatever `get` raises.
        """
        if not image.inline:
            return self.get(image.data)
        if image.HasField("data"):
            raise InvalidInput(f"image {quoted(image.id)} has bytes inline and a blob: send one of them")
        if len(image.inline) > MAX_INLINE:
            raise TooLarge(f"image {quoted(image.id)} has {len(image.inline)} bytes inline, over {MAX_INLINE}: send it by blob")
        return image.inline

    def put_file(self, path: Path, media_type: str) -> common_pb2.Blob:
        """Store a file of any size, in bounded memory, and return the reference."""
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        key = f"{SHARED}{digest[:2]}/{digest}"
        if not self.store.exists(key):
            self.store.put_file(key, path, media_type)
        return common_pb2.Blob(uri=key, sha256=digest, size=path.stat().st_size, media_type=media_type)

    def get_file(self, blob: common_pb2.Blob, path: Path) -> None:
        """Write the blob's bytes to a file in bounded memory; raises as `get` does, and leaves no file then."""
        self.store.get_file(_checked_uri(blob), path)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        try:
            _check(blob, path.stat().st_size, digest)
        except CorruptBlob:
            path.unlink()
            raise
        self.opened.add(blob.uri)

    def fenced(self) -> Blobs:
        """Return the view that training gets: no sealed blob can be opened through it."""
        return Blobs(FencedStore(self.store))


def _checked_uri(blob: common_pb2.Blob) -> str:
    if not _URI.fullmatch(blob.uri):
        raise InvalidInput(
            f"blob uri {quoted(blob.uri)} is not sha256/ab/abcd… or sealed/ab/abcd…: send a blob as it was given"
        )
    return blob.uri


def _check(blob: common_pb2.Blob, size: int, digest: str) -> None:
    if size != blob.size or digest != blob.sha256 or not blob.uri.endswith(digest):
        raise CorruptBlob(
            f"blob {blob.uri}: {size} bytes of sha256 {digest[:12]}… stored, "
            f"{blob.size} bytes of {quoted(blob.sha256[:12])}… wanted; store it again"
        )

"""Content-addressed, immutable blobs on top of a store."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

from nucleate.errors import CorruptBlob, InvalidInput
from nucleate.runtime.store.fence import SEALED, FencedStore
from nucleate.runtime.store.keys import shown
from nucleate.runtime.store.protocol import ObjectStore
from nucleate.v1 import common_pb2

SHARED = "sha256/"
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
        if not _URI.fullmatch(blob.uri):
            raise InvalidInput(
                f"blob uri {shown(blob.uri)} is not sha256/ab/abcd… or sealed/ab/abcd…: send a blob as it was given"
            )
        data = self.store.get(blob.uri)
        digest = hashlib.sha256(data).hexdigest()
        if len(data) != blob.size or digest != blob.sha256 or not blob.uri.endswith(digest):
            raise CorruptBlob(
                f"blob {blob.uri}: {len(data)} bytes of sha256 {digest[:12]}… stored, "
                f"{blob.size} bytes of {shown(blob.sha256[:12])}… wanted; store it again"
            )
        self.opened.add(blob.uri)
        return data

    def fenced(self) -> Blobs:
        """Return the view that training gets: no sealed blob can be opened through it."""
        return Blobs(FencedStore(self.store))

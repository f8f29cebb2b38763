"""Images that arrive in chunks: counted while they arrive, checked before they are stored."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from nucleate import errors
from nucleate.interactive.cancellation import CancellationCheck
from nucleate.interactive.sessions.backpressure import ConcurrencyLimiter
from nucleate.pathology.images.codec import decode_image
from nucleate.runtime.blobs import Blobs
from nucleate.v1 import common_pb2
from nucleate.v1 import interactive_pb2 as pb

MAX_CHUNK = 1 << 20
MAX_ID = 256
_MEDIA_TYPES = ((b"\x89PNG", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"RIFF", "image/webp"))
_RETRY_SECONDS = 2.0


class ImageUploads:
    """Takes images of at most `max_bytes`, together at most `max_total` bytes at a time."""

    def __init__(self, blobs: Blobs, limiter: ConcurrencyLimiter, max_bytes: int, max_total: int) -> None:
        self._blobs, self._limiter, self._max_bytes, self._left = blobs, limiter, max_bytes, max_total
        self._lock = threading.Lock()

    def put(self, requests: Iterable[pb.PutImageRequest], cancelled: CancellationCheck) -> pb.PutImageResponse:
        """Put the chunks together, decode them to be sure, and store the bytes as they came.

        The size is read from the header before any pixel is decoded.

        Raises:
            errors.InvalidInput: no id, or a chunk over 1 MiB.
            errors.InvalidImage: no image, a damaged one, or one this service does not take.
            errors.TooLarge: more bytes or more pixels than an image may have.
            errors.Overloaded: too many bytes are under way.
            errors.Cancelled: `cancelled` said so while waiting.
        """
        with self._byte_budget() as received:
            image_id, data = self._received(requests, received)
            name = f"image '{image_id}'"
            with self._limiter.slot(cancelled):
                height, width = decode_image(data, name).shape[:2]
            media_type = next((kind for magic, kind in _MEDIA_TYPES if data.startswith(magic)), "image/tiff")
            image = common_pb2.Image(id=image_id, data=self._blobs.put(data, media_type))
        return pb.PutImageResponse(image=image, height=height, width=width)

    def _received(self, requests: Iterable[pb.PutImageRequest], received: list[int]) -> tuple[str, bytes]:
        image_id, chunks, size = "", bytearray(), 0
        for request in requests:
            image_id = image_id or request.id
            if not 0 < len(image_id) <= MAX_ID:
                raise errors.InvalidInput(f"the first message must have an id of 1 to {MAX_ID} characters")
            if len(request.chunk) > MAX_CHUNK:
                raise errors.InvalidInput(f"chunk of {len(request.chunk)} bytes: send at most {MAX_CHUNK} at a time")
            size += len(request.chunk)
            if size > self._max_bytes:
                raise errors.TooLarge(f"image '{image_id}' has more than {self._max_bytes} bytes: cut it into regions")
            self._reserve(len(request.chunk), received)
            chunks += request.chunk
        if not image_id:
            raise errors.InvalidInput("no message came: send the image's id and its chunks")
        return image_id, bytes(chunks)

    def _reserve(self, size: int, received: list[int]) -> None:
        with self._lock:
            if size > self._left:
                raise errors.Overloaded("too many images are being sent at this time: send it again later", _RETRY_SECONDS)
            self._left -= size
            received.append(size)

    @contextmanager
    def _byte_budget(self) -> Iterator[list[int]]:
        """Sizes taken from the budget, given back at the end."""
        received: list[int] = []
        try:
            yield received
        finally:
            with self._lock:
                self._left += sum(received)

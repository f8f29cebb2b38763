"""What can be opened: files, encoded bytes and arrays of pixels, all of which travel as encoded images."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from nucleate.client.files.image_files import encode_png, media_type
from nucleate.client.files.input_files import images_in
from nucleate.errors import InvalidImage, InvalidInput
from nucleate.v1 import interactive_pb2 as pb

CHUNK_BYTES = 1 << 20
_WANTED = "give pixels of shape (height, width, 3), RGB, dtype uint8"


class Pixels(Protocol):
    """An array of a library that follows numpy's interface: numpy itself, Pillow and others."""

    @property
    def __array_interface__(self) -> dict[str, Any]: ...


ImageSource: TypeAlias = str | os.PathLike[str] | bytes | bytearray | Pixels


def encoded(source: ImageSource, image_id: str) -> tuple[str, bytes]:
    """Return the image's id and its bytes as PNG, TIFF, JPEG or WebP; a file without `image_id` is called by its stem.

    Raises:
        EmptyInput: there is no such file.
        InvalidInput, InvalidImage: it is not an image.
    """
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        if path.is_dir():
            raise InvalidInput(f"{path} is a folder: give one image file")
        (file,) = images_in(path, "image")
        return image_id or file.id, file.data
    name = image_id or "image"
    if isinstance(source, (bytes, bytearray)):
        if media_type(bytes(source[:16])) is None:
            raise InvalidImage(
                f"the {len(source)} bytes of {name} are not PNG, TIFF, JPEG or WebP: {_WANTED}, or encoded bytes"
            )
        return name, bytes(source)
    return name, _png_of(source)


def image_chunks(image_id: str, data: bytes) -> Iterator[pb.PutImageRequest]:
    """Yield the messages that carry an encoded image."""
    for start in range(0, len(data), CHUNK_BYTES):
        yield pb.PutImageRequest(id="" if start else image_id, chunk=data[start : start + CHUNK_BYTES])


def _png_of(source: Pixels) -> bytes:
    shape, kind, data = _array_parts(source)
    if kind not in {"B", "|u1"} or len(shape) != 3 or shape[2] not in (3, 4) or 0 in shape:
        raise InvalidImage(f"an array of shape {tuple(shape)} and type {kind} is no image: {_WANTED}")
    return encode_png(shape[1], shape[0], data, mode="RGB" if shape[2] == 3 else "RGBA", level=1)


def _array_parts(source: Any) -> tuple[tuple[int, ...], str, bytes]:
    """Return shape, type and row-major bytes of an array."""
    try:
        view = memoryview(source)
    except TypeError:
        interface = getattr(source, "__array_interface__", {})
        data = interface.get("data")
        if not isinstance(data, bytes):  # an address: its owner gives a buffer as well, or is no array
            raise InvalidImage(f"{type(source).__name__} is neither file, bytes nor array: {_WANTED}") from None
        return tuple(interface["shape"]), str(interface["typestr"]), data
    return tuple(view.shape or ()), view.format, view.tobytes()

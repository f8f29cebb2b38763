"""Files of the user into the object store."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from nucleate.client.files.input_files import SourceFile
from nucleate.runtime.blobs import Blobs
from nucleate.v1 import common_pb2

OnUploaded = Callable[[int, str], None]


def upload_images(blobs: Blobs, files: Iterable[SourceFile], on_uploaded: OnUploaded | None = None) -> list[common_pb2.Image]:
    """Store each file's bytes as they are; return one Image per file, in order. `on_uploaded(n, id)` is called after each."""
    images = []
    for number, file in enumerate(files, 1):
        images.append(common_pb2.Image(id=file.id, data=blobs.put(file.data, file.media_type)))
        if on_uploaded:
            on_uploaded(number, file.id)
    return images


def upload_masks(blobs: Blobs, files: Iterable[SourceFile], *, sealed: bool) -> dict[str, common_pb2.Blob]:
    """Store instance masks; return the blobs by id. `sealed` ones are ground truth that no training step can open."""
    return {file.id: blobs.put(file.data, file.media_type, sealed=sealed) for file in files}


def upload_labelled(blobs: Blobs, pairs: Iterable[tuple[SourceFile, SourceFile]]) -> list[common_pb2.LabelledImage]:
    """Store images with their ground-truth masks, the masks sealed."""
    return [
        common_pb2.LabelledImage(
            id=image.id,
            image=blobs.put(image.data, image.media_type),
            instances=blobs.put(mask.data, mask.media_type, sealed=True),
        )
        for image, mask in pairs
    ]

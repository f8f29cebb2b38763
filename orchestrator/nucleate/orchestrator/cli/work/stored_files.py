"""Objects of the store as files of the user."""

from __future__ import annotations

from pathlib import Path

from nucleate.orchestrator.cli.services import Session
from nucleate.v1 import common_pb2

_SUFFIXES = {
    "image/png": ".png",
    "image/tiff": ".tif",
    "image/jpeg": ".jpg",
    "image/webp": ".webp",
    "application/geo+json": ".geojson",
}


def write_blob(session: Session, blob: common_pb2.Blob, stem: Path) -> Path:
    """Write a blob beside `stem`, with the suffix of its media type."""
    path = stem.with_name(stem.name + _SUFFIXES[blob.media_type])
    path.write_bytes(session.blobs.get(blob))
    return path

"""Objects of the store as files of the user."""

from __future__ import annotations

from pathlib import Path

from nucleate.orchestrator.cli.services import ServiceConnections
from nucleate.v1 import common_pb2

_SUFFIXES = {
    "image/png": ".png",
    "image/tiff": ".tif",
    "image/jpeg": ".jpg",
    "image/webp": ".webp",
    "application/geo+json": ".geojson",
}


def write_blob(services: ServiceConnections, blob: common_pb2.Blob, stem: Path) -> Path:
    """Write a blob beside `stem`, with the suffix of its media type."""
    path = stem.with_name(stem.name + _SUFFIXES[blob.media_type])
    path.write_bytes(services.blobs.get(blob))
    return path

"""The dependencies of a servicer."""

from __future__ import annotations

from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from nucleate.runtime.blobs import Blobs
from nucleate.runtime.jobs import JobRunner
from nucleate.runtime.settings import ServiceSettings
from nucleate.runtime.store import ObjectStore


@dataclass(frozen=True)
class ServiceContext:
    """The service's name, its settings, its store (as bytes and as blobs), its jobs, and where its own figures go."""

    name: str
    settings: ServiceSettings
    store: ObjectStore
    blobs: Blobs
    jobs: JobRunner
    registry: CollectorRegistry

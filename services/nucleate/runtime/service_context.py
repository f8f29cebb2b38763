"""The dependencies of a servicer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from prometheus_client import CollectorRegistry

from nucleate.runtime.blobs import Blobs
from nucleate.runtime.jobs import JobRunner
from nucleate.runtime.settings import ServiceSettings
from nucleate.runtime.store import ObjectStore

S_co = TypeVar("S_co", bound=ServiceSettings, covariant=True)


@dataclass(frozen=True)
class ServiceContext(Generic[S_co]):
    """The service's name, its settings, its store (as bytes and as blobs), its jobs, and where its own figures go."""

    name: str
    settings: S_co
    store: ObjectStore
    blobs: Blobs
    jobs: JobRunner
    registry: CollectorRegistry

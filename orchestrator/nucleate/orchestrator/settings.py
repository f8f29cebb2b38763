"""Settings of the orchestrator, prefix `NUCLEATE_`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field

from nucleate.runtime.settings import ServiceSettings

# The ports `nucleate up` gives the services of one machine are written to these variables.
SERVICES = ("synthesis", "refiner", "colornorm", "interactive", "hovernet", "annotator")


class OrchestratorSettings(ServiceSettings):
    """Where the services are, where the journal is kept, and how patient a run is."""

    home: Path = Field(default_factory=lambda: Path.cwd() / ".nucleate", description="folder of the SQLite journal")
    journal: str = Field(default="", description='"postgresql://user:password@host/db"; empty = SQLite in `home`')
    executor_id: str = Field(default="local", description="recovers its own runs only: the pod's name in a cluster")
    endpoint_synthesis: str = "127.0.0.1:50051"
    endpoint_refiner: str = "127.0.0.1:50052"
    endpoint_colornorm: str = "127.0.0.1:50053"
    endpoint_interactive: str = "127.0.0.1:50054"
    endpoint_hovernet: str = "127.0.0.1:50055"
    endpoint_annotator: str = "127.0.0.1:50056"
    unavailable_seconds: float = Field(default=120.0, ge=0, description="how long a step waits for a service that is away")
    run_settings: dict[str, Any] = Field(default_factory=dict, description='replaces profile fields: {"patches": 2}')

    @property
    def endpoints(self) -> dict[str, str]:
        """Endpoint by service name."""
        return {service: str(getattr(self, f"endpoint_{service}")) for service in SERVICES}

    @property
    def journal_url(self) -> str:
        """Database of the journal."""
        return self.journal or f"sqlite:///{self.home.absolute() / 'orchestrator.sqlite'}"

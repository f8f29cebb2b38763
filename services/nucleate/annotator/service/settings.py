"""Settings of the annotator service."""

from __future__ import annotations

from pydantic import Field

from nucleate.runtime.server import ServiceSettings


class AnnotatorSettings(ServiceSettings):
    """On top of what every service reads: where the interactive service answers (NUCLEATE_ENDPOINT_INTERACTIVE)."""

    endpoint_interactive: str = Field(default="127.0.0.1:50054", description='"host:port" or "dns:///service:port"')

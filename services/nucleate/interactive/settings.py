"""Settings of the interactive service."""

from __future__ import annotations

from pydantic import Field

from nucleate.runtime.server import ServiceSettings


class InteractiveSettings(ServiceSettings):
    """On top of what every service reads: how hard f-BRS works per click, and how many sessions stay in memory."""

    most_evaluations: int = Field(default=20, ge=0, le=200, description="optimizer evaluations per click; 0 = no refinement")
    live_sessions: int = Field(default=16, ge=1, description="sessions kept in memory; others are rebuilt from their log")

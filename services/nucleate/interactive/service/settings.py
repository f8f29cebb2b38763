"""Settings of the interactive service."""

from __future__ import annotations

import os

from pydantic import Field

from nucleate.interactive.refinement.options import Method
from nucleate.runtime.server import ServiceSettings


class InteractiveSettings(ServiceSettings):
    """On top of what every service reads: how clicks are refined, what stays in memory, how much is done at once."""

    model: str = Field(default="", description='model of sessions that name none: a stored one, "model:sha256/…"')
    refinement: Method | None = Field(default=None, description="of sessions that name none; unset = the best by measurement")
    most_evaluations: int = Field(default=20, ge=0, le=200, description="optimizer evaluations per click; 0 = no refinement")
    session_days: float = Field(default=30.0, gt=0, description="a session that nothing has changed for so long has expired")
    live_sessions: int = Field(default=256, ge=1, description="sessions kept in memory; others are rebuilt from their log")
    live_bytes: int = Field(default=1 << 30, ge=0, description="of their images and maps; the session in use is always kept")
    live_minutes: float = Field(default=30.0, gt=0, description="after so long without a call a session leaves the memory")
    image_bytes: int = Field(default=256 << 20, ge=1, description="of one image that is sent in chunks")
    upload_bytes: int = Field(default=1 << 30, ge=1, description="of all images that are being sent at one time")
    rpc_threads: int = Field(default=160, ge=32, description="calls served at once: streams, those in line, and the others")
    most_streams: int = Field(default=64, ge=1, description="streams of clicks; at least 16 threads stay free for other calls")
    compute: int = Field(default=0, ge=0, description="predictions at once; 0 = one per core")
    click_threads: int = Field(default=1, ge=1, description="of one prediction; fixed, so that load changes no mask")
    most_waiting: int = Field(default=64, ge=0, description="calls in line for a prediction; others are refused with a hint")

    @property
    def slots(self) -> int:
        """Predictions at once."""
        return self.compute or max(1, len(os.sched_getaffinity(0)) // self.click_threads)

    @property
    def streams(self) -> int:
        """Streams at once."""
        return min(self.most_streams, self.rpc_threads - 16)

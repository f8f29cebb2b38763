"""Settings of the refiner service; environment prefix `NUCLEATE_`."""

from __future__ import annotations

from pydantic import Field

from nucleate.runtime.settings import ServiceSettings


class RefinerSettings(ServiceSettings):
    """What every service takes, and how many pairs a preview shows."""

    preview_pairs: int = Field(default=8, ge=1, le=64)
    preview_side: int = Field(default=256, ge=32, le=1024, description="pixels of each image that a preview shows")

"""Settings of the HoVer-Net service; environment prefix `NUCLEATE_`."""

from __future__ import annotations

from pydantic import Field

from nucleate.runtime.settings import ServiceSettings


class HoverNetSettings(ServiceSettings):
    """What every service takes, and how a training is spread."""

    processes: int = Field(default=0, ge=0, le=64, description="processes of a training; 0 = one per GPU, one on a CPU")

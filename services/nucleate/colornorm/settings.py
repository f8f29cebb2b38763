"""Settings of the colour normalization service; environment prefix `NUCLEATE_`."""

from __future__ import annotations

import os

from pydantic import Field

from nucleate.runtime.settings import ServiceSettings


class ColorNormSettings(ServiceSettings):
    """What every service takes, and whether ColorNormNet may shift green, which the report leaves as it is."""

    green: bool = Field(default=False, description="train ColorNormNet with a free offset for the green channel too")

    @property
    def workers(self) -> int:
        """Threads to compute with: `threads`, or one per core that this process may use."""
        return self.threads or len(os.sched_getaffinity(0))

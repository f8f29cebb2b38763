"""Settings of the colour normalization service; environment prefix `NUCLEATE_`."""

from __future__ import annotations

import os

from nucleate.runtime.settings import ServiceSettings


class ColorNormSettings(ServiceSettings):
    """What every service takes."""

    @property
    def workers(self) -> int:
        """Threads to compute with: `threads`, or one per core that this process may use."""
        return self.threads or len(os.sched_getaffinity(0))

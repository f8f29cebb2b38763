"""Settings of the HoVer-Net service; environment prefix `NUCLEATE_`."""

from __future__ import annotations

import os

from nucleate.runtime.settings import ServiceSettings


class HoverNetSettings(ServiceSettings):
    """What every service takes."""

    @property
    def compute_threads(self) -> int:
        """Threads to compute with: `threads`, or one per core that this process may use."""
        return self.threads or len(os.sched_getaffinity(0))

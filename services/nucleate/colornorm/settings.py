"""Settings of the colour normalization service; environment prefix `NUCLEATE_`."""

from __future__ import annotations

import os

from pydantic import Field

from nucleate.runtime.settings import ServiceSettings


class ColorNormSettings(ServiceSettings):
    """What every service takes, and whether ColorNormNet may shift green.

    The report (chapter 6) leaves green as it is. On TCGA images of several hospitals green differs as much as red and blue:
    held fixed, the mean tissue colour of 15 images stayed .111 from the target's green and pale slides turned greenish; freed,
    it came to .010.
    """

    green: bool = Field(default=True, description="let ColorNormNet shift green too; false is the report's own mode")

    @property
    def workers(self) -> int:
        """Threads to compute with: `threads`, or one per core that this process may use."""
        return self.threads or len(os.sched_getaffinity(0))

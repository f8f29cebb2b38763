"""Settings of the synthesis service; environment prefix `NUCLEATE_`."""

from __future__ import annotations

from pydantic import Field

from nucleate.runtime.settings import ServiceSettings
from nucleate.synthesis.generation.batch import GROUP


class SynthesisSettings(ServiceSettings):
    """What every service takes, and how many references taken apart are kept in memory (about 12 MB per megapixel)."""

    cached_references: int = Field(default=GROUP, ge=1)

"""An annotation of one image: which nucleus every pixel belongs to, and of which class that nucleus is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Class of a nucleus that has none in an annotation that classifies others.
UNCLASSIFIED = "unclassified"


@dataclass(frozen=True, eq=False)
class Labels:
    """Instance map HW int32 (0 background), class by label (None: nothing is classified), remarks for people."""

    instances: NDArray[np.int32]
    kinds: Mapping[int, str] | None = None
    notes: tuple[str, ...] = ()

    @property
    def present(self) -> NDArray[np.int32]:
        """Labels that occur, rising, N."""
        found = np.unique(self.instances)
        return found[found > 0]

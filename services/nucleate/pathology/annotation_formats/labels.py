"""An annotation of one image: its instance map and the class of every instance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Class of a nucleus that has none in an annotation that classifies others.
UNCLASSIFIED = "unclassified"


@dataclass(frozen=True, eq=False)
class Labels:
    """Instance map HW int32 (0 background), name of the type by label (None: nothing is classified), remarks for people."""

    instances: NDArray[np.int32]
    types: Mapping[int, str] | None = None
    notes: tuple[str, ...] = ()

    @property
    def present(self) -> NDArray[np.int32]:
        """Labels that occur, rising, N."""
        found = np.unique(self.instances)
        return found[found > 0]

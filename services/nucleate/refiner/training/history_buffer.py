"""The history buffer: earlier refined crops for the discriminator (report section 2.2, figure 2.7; SimGAN section 2.3)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class HistoryBuffer:
    """A fixed number of refined crops, uint8 3HW. It fills up first and then forgets at random.

    Widely copied SimGAN code drops the result of `np.append` and keeps an always empty buffer; `count` makes it visible here.
    """

    def __init__(self, capacity: int, crop: int) -> None:
        self.images_N3HW = np.zeros((capacity, 3, crop, crop), np.uint8)
        self.count = 0

    @property
    def capacity(self) -> int:
        """Crops it can hold."""
        return len(self.images_N3HW)

    def exchange(self, fresh_B3HW: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
        """A batch for D: half of `fresh`, half from the history; then the fresh half that D does not see is stored.

        Until the buffer holds half a batch, D sees fresh crops only.
        """
        half = len(fresh_B3HW) // 2
        seen = fresh_B3HW.copy()
        if half and self.count >= half:
            seen[:half] = self.images_N3HW[rng.choice(self.count, half, replace=False)]
        self._store(fresh_B3HW[: max(half, 1)], rng)
        return seen

    def _store(self, crops_K3HW: NDArray[np.uint8], rng: np.random.Generator) -> None:
        for crop in crops_K3HW:
            if self.count < self.capacity:
                self.images_N3HW[self.count] = crop
                self.count += 1
            else:
                self.images_N3HW[rng.integers(self.capacity)] = crop

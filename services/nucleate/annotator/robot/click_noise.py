"""Noise of a simulated user's clicks: none, or Gaussian within the error region."""

from __future__ import annotations

import cv2
import numpy as np

from nucleate.annotator.robot.oracle import Mask


class ClickNoise:
    """Gaussian error of `jitter` px standard deviation, drawn from `seed`; 0 clicks exactly.

    People see where they click: a jittered click stays in the connected part of the error region it was meant for, and off
    pixels that were clicked before.
    """

    def __init__(self, jitter: float, seed: list[int]) -> None:
        self._jitter, self._rng = jitter, np.random.default_rng(seed)

    def apply(self, x: int, y: int, region_HW: Mask, clicked: set[tuple[int, int]]) -> tuple[int, int]:
        """Where a click meant for (x, y) lands: the pixel of the region nearest to it plus noise.

        Args:
            x: column of a pixel of the region.
            y: its row.
            region_HW: the error region, bool.
            clicked: (x, y) of pixels that cannot be clicked again.
        """
        if not self._jitter:
            return x, y
        aimed_x, aimed_y = np.array([x, y]) + self._rng.normal(0, self._jitter, 2)
        _, parts = cv2.connectedComponents(region_HW.view(np.uint8), connectivity=8)
        rows, columns = np.nonzero(parts == parts[y, x])
        distances = (columns - aimed_x) ** 2 + (rows - aimed_y) ** 2
        for nearest in np.argsort(distances, kind="stable").tolist():
            landed = int(columns[nearest]), int(rows[nearest])
            if landed not in clicked:
                return landed
        return x, y

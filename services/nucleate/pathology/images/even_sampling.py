"""Samples spread evenly over a sequence of images, windows or tiles."""

from __future__ import annotations

import numpy as np


def evenly_spaced(count: int, most: int) -> list[int]:
    """Up to `most` indices of `count` entries, rising, the first and the last among them."""
    return [int(index) for index in np.unique(np.linspace(0, count - 1, most).round())]

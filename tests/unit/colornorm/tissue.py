"""Stained tissue out of two known stains, with a strip of glass."""

from __future__ import annotations

import cv2
import numpy as np

from nucleate.pathology.stains.optical_density import HED, od_to_rgb

PINK, BLUE = HED[1], HED[0]


def tissue(seed=0, side=128, *, glass=243, haematoxylin=BLUE, eosin=PINK, strength=(1.0, 1.0)):
    """RGB of smooth fields of haematoxylin and eosin, some pixels of one alone, and glass of a level on the right third."""
    rng = np.random.default_rng(seed)

    def field(low, high):
        coarse = cv2.resize(rng.random((side // 6, side // 6)), (side, side), interpolation=cv2.INTER_CUBIC)
        return low + (high - low) * np.clip((coarse - 0.3) / 0.5, 0, 1)

    amounts = np.stack([strength[0] * field(0.02, 1.4), strength[1] * field(0.15, 0.9)], -1)
    density = amounts @ np.stack([haematoxylin, eosin]) / 1.0
    rgb = od_to_rgb(density + rng.normal(0, 0.01, density.shape))
    rgb[:, side - side // 3 :] = np.clip(rng.normal(glass, 1.5, (side, side // 3, 3)), 0, 255)
    return rgb

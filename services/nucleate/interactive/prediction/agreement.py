"""What network, outline and correction agree on: they err differently, so their mean errs less than any of them.

The network errs in where exactly the edge runs, the outline in what belongs to the nucleus, and an edit of the mask so far in
everything that the last click does not tell.
"""

from __future__ import annotations

import cv2
import numpy as np

from nucleate.interactive.clicks import Mask
from nucleate.pathology.outlines import Float

OUTLINE_SHARE, CORRECTION_SHARE = 0.7, 0.5
SIGMA = 1.5  # px by which the edge of an outline or a corrected mask is in doubt


def agreed(probability_HW: Float, outline_HW: Mask | None, corrected_HW: Mask | None) -> Float:
    """Nucleus probability, 0..1, from the network's own, the closed outline and the corrected mask, as far as there are any."""
    for mask_HW, share in ((outline_HW, OUTLINE_SHARE), (corrected_HW, CORRECTION_SHARE)):
        if mask_HW is not None:
            probability_HW = (1 - share) * probability_HW + share * _softened(mask_HW)
    return np.asarray(probability_HW, np.float32)


def _softened(mask_HW: Mask) -> Float:
    return np.asarray(cv2.GaussianBlur(mask_HW.astype(np.float32), (0, 0), SIGMA), np.float32)

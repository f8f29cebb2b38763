"""The nuclear texture image N: what the reference would look like if it were one large nucleus.

Inside the sub-segmentation it is the reference. Everywhere else it takes the colour of the nuclei nearby and the
texture of the eosin channel, scaled to the contrast of chromatin, since nuclei alone are too small a sample of texture
(report section 3.2.1). The report's own mode keeps only the mean colour of the nuclei and takes all texture from eosin.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from nucleate.synthesis.analysis.inpainting import BASE_LEVEL, push_pull
from nucleate.synthesis.profiles import Material

_TEXTURE_SIGMA = 4.0


def nuclear_texture(
    od_HWC: NDArray[np.float32], eosin_HW: NDArray[np.float32], sub_HW: NDArray[np.bool_], method: Material
) -> NDArray[np.float32]:
    """HWC float32 optical densities; `sub_HW` (bool) must contain at least one pixel."""
    texture_HW = eosin_texture(eosin_HW)
    if method == "eosin":
        inside = od_HWC[sub_HW]
        texture = inside.mean(axis=0) + texture_HW[..., None] * inside.std(axis=0)
        return np.asarray(np.maximum(texture, 0), dtype=np.float32)
    base = push_pull(od_HWC, sub_HW, BASE_LEVEL)
    smooth = push_pull(od_HWC, sub_HW)
    chromatin = (od_HWC - base)[sub_HW].std(axis=0)
    texture = np.where(sub_HW[..., None], od_HWC, smooth + 0.7 * texture_HW[..., None] * chromatin)
    return np.asarray(np.maximum(texture, 0), dtype=np.float32)


def eosin_texture(eosin_HW: NDArray[np.float32]) -> NDArray[np.float32]:
    """Fine structure of the eosin density: HW float32, mean 0 and standard deviation 1, at most 3 either way."""
    fine = eosin_HW - cv2.GaussianBlur(eosin_HW, (0, 0), _TEXTURE_SIGMA)
    return np.asarray(np.clip(fine / max(float(fine.std()), 1e-6), -3, 3), dtype=np.float32)

"""Putting nuclei onto the background: S = M N + (1 - M) B (report section 3.2.1).

M is the nuclear mask with edges as soft as those of the reference. By default the formula is applied to optical
densities, in which stains add up (Beer-Lambert); the report's own mode applies it to intensities.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from nucleate.pathology.instances.instance_map import bounding_boxes
from nucleate.pathology.stains.optical_density import od_to_rgb, rgb_to_od
from nucleate.synthesis.analysis.nuclei_measurement import NucleusMeasurements, nearest_label
from nucleate.synthesis.generation.layout import NucleusLayout, PlacedNucleus
from nucleate.synthesis.profiles import Composite

#: How far texture reaches beyond the mask, so that soft edges blend texture and not what lies under it (px).
_OVERHANG = 4.0
#: Opacity of the seam between two nuclei that touch: a little of the background shows through.
_SEAM = 0.75


def blend(
    mask_HW: NDArray[np.float32], texture_rgb: NDArray[np.uint8], background_rgb: NDArray[np.uint8], method: Composite
) -> NDArray[np.uint8]:
    """S = M N + (1 - M) B: HWC uint8 from M in [0, 1] (HW float32) and two HWC uint8 images."""
    mask = mask_HW[..., None]
    if method == "linear":
        linear = mask * texture_rgb + (1.0 - mask) * background_rgb
        return np.rint(linear).astype(np.uint8)
    return od_to_rgb(mask * rgb_to_od(texture_rgb) + (1.0 - mask) * rgb_to_od(background_rgb))


def soft_mask(instances: NDArray[np.int32], edge_sigma: float) -> NDArray[np.float32]:
    """M in [0, 1]: the foreground of an HW instance map with Gaussian edges and faint seams between touching nuclei."""
    mask = (instances > 0).astype(np.float32)
    mask[_seams(instances)] = _SEAM
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), edge_sigma), dtype=np.float32)


def _seams(instances: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Foreground pixels with another nucleus below or to the right."""
    seams = np.zeros(instances.shape, dtype=np.bool_)
    here, below, beside = instances[:-1, :-1], instances[1:, :-1], instances[:-1, 1:]
    seams[:-1, :-1] = (here > 0) & (((below != here) & (below > 0)) | ((beside != here) & (beside > 0)))
    return seams


def paint_nuclei(
    layout: NucleusLayout,
    models: NucleusMeasurements,
    texture_rgb: NDArray[np.uint8],
    rng: np.random.Generator,
    gain_spread: float,
) -> NDArray[np.uint8]:
    """The image N under a synthetic mask: every nucleus carries the texture of the reference nucleus it is modelled on.

    The texture is turned and scaled with the nucleus, and its density varied by a log-normal gain of `gain_spread`.
    HWC uint8; zero far from any nucleus, where M is 0.
    """
    grown = nearest_label(layout.instances, _OVERHANG)
    painted = np.zeros((*grown.shape, 3), dtype=np.uint8)
    gains = np.exp(rng.normal(0.0, gain_spread, len(layout.nuclei)))
    flips = rng.random(len(layout.nuclei)) < 0.5
    for nucleus, box, gain, flip in zip(layout.nuclei, bounding_boxes(grown), gains, flips, strict=True):
        if box is None:
            continue
        patch = _warp_texture(nucleus, box, models, texture_rgb, flip=bool(flip))
        levels = _gain_table(float(gain))
        mine = grown[box] == nucleus.label
        painted[box][mine] = levels[patch[mine]]
    return painted


def _warp_texture(
    nucleus: PlacedNucleus,
    box: tuple[slice, slice],
    models: NucleusMeasurements,
    texture_rgb: NDArray[np.uint8],
    *,
    flip: bool,
) -> NDArray[np.uint8]:
    """The texture around the model nucleus, as it looks through `box` after the move to the synthetic nucleus."""
    model = nucleus.model
    scale = float(np.sqrt(models.areas[model] / nucleus.area))
    turn = nucleus.angle - float(models.angles[model])
    cos, sin = scale * np.cos(turn), scale * np.sin(turn)
    # From output pixel to texture: move to the centre, mirror across the major axis or not, turn back, move to the model.
    linear = np.array([[cos, sin], [-sin, cos]])
    if flip:
        axis = 2.0 * nucleus.angle
        linear = linear @ np.array([[np.cos(axis), np.sin(axis)], [np.sin(axis), -np.cos(axis)]])
    corner = np.array([box[1].start - nucleus.x, box[0].start - nucleus.y])
    offset = linear @ corner + models.centres[model]
    matrix = np.concatenate([linear, offset[:, None]], axis=1)
    size = (box[1].stop - box[1].start, box[0].stop - box[0].start)
    warped = cv2.warpAffine(
        texture_rgb, matrix, size, flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REFLECT
    )
    return np.asarray(warped, dtype=np.uint8)


def _gain_table(gain: float) -> NDArray[np.uint8]:
    """Grey level -> grey level when the optical density is multiplied by `gain`."""
    levels = np.arange(256) / 255.0
    return np.rint(255.0 * levels**gain).astype(np.uint8)

"""From NP and HV maps to instances: gradient markers and watershed (Graham et al. 2019, section 3.2; hover_net's post_proc).

The same steps as hover_net's ``__proc_np_hv`` in float32: cv2 components, holes by a flood fill from outside, and the
watershed on nothing but regions with several markers. `PUBLISHED` gives the published definition; the default drops
fragments, too.
"""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
from numpy.typing import NDArray

from nucleate import errors
from nucleate.hovernet.postprocessing.watershed import marker_watershed
from nucleate.pathology.instances.mask_morphology import remove_small_components
from nucleate.pathology.instances.typical_area import area_weighted_median

#: Rounding of averaged probabilities may leave 0..1 by this much.
_SLACK = 1e-3


@dataclasses.dataclass(frozen=True)
class PostProcessing:
    """Thresholds on probability and marker energy; Sobel and opening sizes (odd) in px; least areas in px.

    `smallest` is for connected probable regions, `smallest_marker` for markers. Instances below `smallest_instance` px or below
    `fragment` of the image's typical nuclear area are dropped, and holes of up to `hole` px are filled, as a pale nucleus with
    a dark rim leaves one; 0 leaves these as they are, as hover_net does.
    """

    nuclear: float = 0.5
    marker: float = 0.4
    sobel: int = 21
    smallest: int = 10
    smallest_marker: int = 10
    opening: int = 5
    smallest_instance: int = 10
    fragment: float = 0.15
    hole: int = 0


#: hover_net's own, for figures that compare with published ones.
PUBLISHED = PostProcessing(smallest_instance=0, fragment=0.0)
#: Nuclei at 40x are over 80 px and have no holes: smaller markers are chromatin clumps, and under a quarter of the typical
#: nucleus there are more fragments than nuclei (PQ of cycle 1 on the pool .442 with .15, .449 with .25).
CLEAN = PostProcessing(opening=7, smallest_marker=20, hole=250, fragment=0.25)


def instances(
    nuclear_HW: NDArray[np.float32], hv_2HW: NDArray[np.float32], settings: PostProcessing | None = None
) -> NDArray[np.int32]:
    """Instance map HW int32, 0 background, 1..N.

    Args:
        nuclear_HW: probability of nucleus in 0..1, float32.
        hv_2HW: horizontal and vertical distance maps in about -1..1, float32.
        settings: thresholds; hover_net's by default, and no fragments.

    Raises:
        errors.SizeMismatch: shapes differ.
        errors.InvalidInput: a map is empty, not finite, or no probability; or HV is constant although nuclei were found. Maps
            without any probable nucleus give an empty map.
    """
    settings = settings or PostProcessing()
    _check(nuclear_HW, hv_2HW)
    probable = np.ascontiguousarray(nuclear_HW >= settings.nuclear)
    nuclear = _fill_holes(remove_small_components(probable, settings.smallest), settings.hole)
    if not nuclear.any():
        return np.zeros(nuclear_HW.shape, np.int32)
    inner = _edge_strength(hv_2HW.astype(np.float32, copy=False), settings.sobel) * nuclear
    energy = -np.asarray(cv2.GaussianBlur(nuclear - inner, (3, 3), 0), np.float32)
    pixels_P, labels_P = marker_watershed(energy, _markers(nuclear, inner, settings), nuclear)
    sizes = np.bincount(labels_P)
    sizes[0] = 0
    keep = sizes >= max(settings.smallest_instance, int(settings.fragment * area_weighted_median(sizes)), 1)
    found = np.zeros(nuclear_HW.shape, np.int32)
    found.ravel()[pixels_P] = np.where(keep, np.cumsum(keep), 0)[labels_P]
    return found


def _check(nuclear_HW: NDArray[np.floating], hv_2HW: NDArray[np.floating]) -> None:
    if nuclear_HW.ndim != 2 or nuclear_HW.size == 0:
        raise errors.InvalidInput(f"the probability map has shape {nuclear_HW.shape}: give height x width")
    if hv_2HW.shape != (2, *nuclear_HW.shape):
        raise errors.SizeMismatch(f"HV maps {hv_2HW.shape} do not fit the probability map {nuclear_HW.shape}")
    # Minimum and maximum carry NaN on and are several times faster than a test of every value.
    extremes = [float(edge(plane)) for plane in (nuclear_HW, *hv_2HW) for edge in (np.min, np.max)]
    if not np.isfinite(extremes).all():
        raise errors.InvalidInput("network output is not finite: the model is damaged, train it again")
    if extremes[0] < -_SLACK or extremes[1] > 1 + _SLACK:
        raise errors.InvalidInput(
            f"the probability map reaches from {extremes[0]:g} to {extremes[1]:g}: give probabilities in 0..1, not logits"
        )


def _fill_holes(mask_HW: NDArray[np.bool_], largest: int) -> NDArray[np.bool_]:
    """`mask_HW` with the holes of up to `largest` pixels, which are 4-connected and do not touch the border."""
    if largest <= 0:
        return mask_HW
    holes = _holes(mask_HW)
    labels = cv2.connectedComponents(holes.view(np.uint8), connectivity=4)[1]
    return np.asarray(mask_HW | (holes & (np.bincount(labels.ravel()) <= largest)[labels]))


def _holes(mask_HW: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels outside of the mask that no 4-connected path joins to the border."""
    framed = np.pad(mask_HW.view(np.uint8), 1)
    cv2.floodFill(framed, None, (0, 0), 2, flags=4)
    return np.asarray(framed[1:-1, 1:-1] == 0)


def _edge_strength(hv_2HW: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """Largest of the two normalised, inverted Sobel responses, HW in 0..1: high at the seams between nuclei.

    hover_net also normalises the maps before Sobel, which the normalisation after it cancels.
    """
    # The scale keeps float32 sums of a large kernel near 1.
    across, down = (
        _inverted_slope(
            cv2.Sobel(plane, cv2.CV_32F, 1 - axis, axis, ksize=size, scale=2.0 ** (3 - 2 * size)), float(np.ptp(plane))
        )
        for axis, plane in enumerate(hv_2HW)
    )
    return np.asarray(np.maximum(across, down, out=across))


def _inverted_slope(slope_HW: NDArray[np.float32], spread: float) -> NDArray[np.float32]:
    """1 at the lowest slope, 0 at the highest."""
    low, high = float(slope_HW.min()), float(slope_HW.max())
    if spread <= 0 or high <= low:
        raise errors.InvalidInput("HV map is constant although nuclei were found: the model is damaged, train it again")
    np.subtract(np.float32(high), slope_HW, out=slope_HW)
    slope_HW *= np.float32(1.0 / (high - low))
    return slope_HW


def _markers(nuclear_HW: NDArray[np.bool_], inner_HW: NDArray[np.float32], settings: PostProcessing) -> NDArray[np.int32]:
    """Connected cores of nuclei, 4-connected, labelled in raster order."""
    core = nuclear_HW & (inner_HW < settings.marker)
    core |= _holes(core)
    if settings.opening:
        disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (settings.opening,) * 2)
        core = cv2.morphologyEx(core.view(np.uint8), cv2.MORPH_OPEN, disk).view(np.bool_)
    core = remove_small_components(core, settings.smallest_marker)
    return np.asarray(cv2.connectedComponents(core.view(np.uint8), connectivity=4)[1], np.int32)

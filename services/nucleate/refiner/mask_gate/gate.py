"""The mask gate: refuses a refinement that moved, erased or invented nuclei, because its instance map would no longer be true.

Two measurements on the haematoxylin plane, before against after, per nucleus:
- shift: the lag that best matches the slope of the plane across the contour (± 6 px along the normals) in each of 16 sectors;
  of the sectors' lags s_k, a whole-nucleus translation is fitted (s_k = a + dx cos + dy sin) and the larger of its length and
  the mean |s_k| is the nucleus's shift, so that neither a translation nor a growth hides.
- contrast: inside minus surroundings. Nuclei that keep less than half of it have vanished.
And in the background: bodies as dark as nuclei and large enough, where there was none before, are hallucinated.
Nuclei without a clear contour before are left out of both. A change of stain as a whole is no reason to refuse.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from nucleate.errors import SizeMismatch
from nucleate.pathology.instances.instance_map import bounding_boxes
from nucleate.pathology.stains.haematoxylin import smoothed_haematoxylin
from nucleate.refiner.mask_gate.contour_profiles import OFFSETS_L, POINTS, SECTORS, STEP, Normals, normals, sample

MAX_MEDIAN_SHIFT = 1.0  # pixels
MAX_P95_SHIFT = 2.0  # pixels
MAX_VANISHED = 0.01
VANISHED_BELOW = 0.5  # of the contrast before, relative to what the typical nucleus of the image kept
MIN_CONTRAST = 0.08  # optical density; fainter contours have no measurable place
MAX_OWN_LAG = 1.0  # pixels; a contour matched to itself elsewhere has a stronger edge beside it
MIN_SECTORS = 6
SMOOTHING = 1.0  # pixels, sigma
WINDOW = 2.5  # pixels, sigma: the slope at the contour counts, not the neighbours'
HALO = 3  # pixels round nuclei that belong to their edges
MIN_BODY_AREA = 0.3  # of the median nuclear area; smaller dark spots are texture
MAX_HALLUCINATED = 0.02  # per nucleus


@dataclass(frozen=True)
class GateResult:
    """What the gate found: shifts in pixels, `vanished` as a fraction of the `measured` nuclei, `hallucinated` per nucleus."""

    accepted: bool
    reason: str
    shift_median_px: float
    shift_p95_px: float
    vanished: float
    measured: int
    hallucinated: float = 0.0


def verify_refinement(
    before_HW3: NDArray[np.uint8], after_HW3: NDArray[np.uint8], instances_HW: NDArray[np.int32]
) -> GateResult:
    """Compares a uint8 RGB image before and after refinement at the nuclei of its instance map.

    Raises:
        SizeMismatch: the three do not have the same height and width.
    """
    if not before_HW3.shape[:2] == after_HW3.shape[:2] == instances_HW.shape:
        raise SizeMismatch(f"gate: sizes differ: {before_HW3.shape[:2]}, {after_HW3.shape[:2]}, {instances_HW.shape}")
    found = [(box, label) for label, box in enumerate(bounding_boxes(instances_HW), start=1) if box is not None]
    if not found:
        return GateResult(True, "", 0.0, 0.0, 0.0, 0)
    lines = normals(instances_HW, [box for box, _ in found], [label for _, label in found])
    before_HW, after_HW = smoothed_haematoxylin(before_HW3, SMOOTHING), smoothed_haematoxylin(after_HW3, SMOOTHING)
    before_NSL, after_NSL = _sector_profiles(before_HW, lines), _sector_profiles(after_HW, lines)
    clear_NS = lines.clear.reshape(len(found), SECTORS, POINTS).all(axis=2)
    contrast_NS = _contrast(before_NSL)
    own_NS = _lags(before_NSL, before_NSL)
    clear_NS &= (contrast_NS >= MIN_CONTRAST) & (np.abs(own_NS) <= MAX_OWN_LAG)
    measurable_N = clear_NS.sum(axis=1) >= MIN_SECTORS
    if not measurable_N.any():
        return GateResult(False, "no nucleus has a clear contour, so the mask cannot be checked", 0.0, 0.0, 0.0, 0)
    normal_NS2 = lines.outwards.reshape(len(found), SECTORS, POINTS, 2).mean(axis=2)
    kept_N = _kept_contrast(contrast_NS, _contrast(after_NSL), clear_NS)[measurable_N]
    vanished_N = kept_N < VANISHED_BELOW * np.clip(np.median(kept_N), 0.5, 2.0)
    lag_NS = _lags(before_NSL, after_NSL) - own_NS
    shift_N = _nucleus_shift(lag_NS, normal_NS2, clear_NS)[measurable_N]
    return _decide(shift_N[~vanished_N], vanished_N, _hallucinated_bodies(before_HW, after_HW, instances_HW) / len(found))


def _hallucinated_bodies(before_HW: NDArray[np.float32], after_HW: NDArray[np.float32], instances_HW: NDArray[np.int32]) -> int:
    """Dark bodies of nuclear size in the background that were not there before."""
    nuclear_HW = instances_HW > 0
    near_HW = cv2.dilate(nuclear_HW.astype(np.uint8), np.ones((2 * HALO + 1,) * 2, np.uint8)) > 0
    if near_HW.all():
        return 0
    sizes = np.bincount(instances_HW[nuclear_HW])
    min_area = MIN_BODY_AREA * float(np.median(sizes[sizes > 0]))
    before_dark_HW, after_dark_HW = (_dark_background(plane, nuclear_HW, near_HW) for plane in (before_HW, after_HW))
    count, labels_HW = cv2.connectedComponents(after_dark_HW.astype(np.uint8), connectivity=4)
    area = np.bincount(labels_HW.ravel(), minlength=count)[1:]
    known = np.bincount(labels_HW[before_dark_HW], minlength=count)[1:]
    return int(np.count_nonzero((area >= min_area) & (known < 0.5 * area)))


def _dark_background(
    density_HW: NDArray[np.float32], nuclear_HW: NDArray[np.bool_], near_HW: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Background beyond half-way from its own typical density to that of nuclei: a change of stain moves both."""
    nuclei, background = float(np.median(density_HW[nuclear_HW])), float(np.median(density_HW[~near_HW]))
    return np.asarray(~near_HW & (density_HW > background + max(0.5 * (nuclei - background), 0.5 * MIN_CONTRAST)))


def _decide(shift_M: NDArray[np.float64], vanished_N: NDArray[np.bool_], hallucinated: float) -> GateResult:
    median, p95 = (
        # "lower": one nucleus among few is an outlier, not 5 % of them.
        (float(np.median(shift_M)), float(np.percentile(shift_M, 95, method="lower"))) if len(shift_M) else (0.0, 0.0)
    )
    vanished = float(vanished_N.mean())
    reasons = [
        text
        for failed, text in (
            (median > MAX_MEDIAN_SHIFT, f"contour shift median {median:.1f} px > {MAX_MEDIAN_SHIFT:g} px"),
            (p95 > MAX_P95_SHIFT, f"contour shift p95 {p95:.1f} px > {MAX_P95_SHIFT:g} px"),
            (vanished > MAX_VANISHED, f"{vanished:.2%} of the nuclei vanished > {MAX_VANISHED:.0%}"),
            (
                hallucinated > MAX_HALLUCINATED,
                f"{hallucinated:.2f} new dark bodies per nucleus > {MAX_HALLUCINATED:g}",
            ),
        )
        if failed
    ]
    return GateResult(not reasons, "; ".join(reasons), median, p95, vanished, len(vanished_N), hallucinated)


def _sector_profiles(plane_HW: NDArray[np.float32], lines: Normals) -> NDArray[np.float32]:
    profiles_NKL = sample(plane_HW, lines)
    count, _, length = profiles_NKL.shape
    mean_NSL: NDArray[np.float32] = profiles_NKL.reshape(count, SECTORS, POINTS, length).mean(axis=2)
    return mean_NSL


def _contrast(profile_NSL: NDArray[np.float32]) -> NDArray[np.float32]:
    inside = (OFFSETS_L >= -3.5) & (OFFSETS_L <= -1.5)
    outside = (OFFSETS_L >= 1.5) & (OFFSETS_L <= 3.5)
    contrast_NS: NDArray[np.float32] = profile_NSL[..., inside].mean(axis=2) - profile_NSL[..., outside].mean(axis=2)
    return contrast_NS


def _kept_contrast(
    before_NS: NDArray[np.float32], after_NS: NDArray[np.float32], clear_NS: NDArray[np.bool_]
) -> NDArray[np.float64]:
    before_N = np.where(clear_NS, before_NS, 0.0).sum(axis=1)
    after_N = np.where(clear_NS, after_NS, 0.0).sum(axis=1)
    return np.asarray(after_N / np.maximum(before_N, 1e-6), np.float64)


def _lags(before_NSL: NDArray[np.float32], after_NSL: NDArray[np.float32]) -> NDArray[np.float64]:
    """Displacement in pixels, positive outwards, of the slope around the contour; NS."""
    slope_before = -np.diff(before_NSL, axis=2)
    slope_after = -np.diff(after_NSL, axis=2)
    steps = slope_before.shape[2]
    centre = (OFFSETS_L[:-1] + STEP / 2).astype(np.float32)
    template = slope_before * np.exp(-0.5 * (centre / WINDOW) ** 2)
    padded = np.pad(slope_after, ((0, 0), (0, 0), (steps // 2, steps // 2)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, steps, axis=2)
    match_NSJ = np.einsum("nsl,nsjl->nsj", template, windows, optimize=True)
    best_NS = np.clip(match_NSJ.argmax(axis=2), 1, match_NSJ.shape[2] - 2)
    left, middle, right = (np.take_along_axis(match_NSJ, best_NS[..., None] + d, 2)[..., 0] for d in (-1, 0, 1))
    bend = np.minimum(left - 2 * middle + right, -1e-9)
    fraction_NS = np.clip(0.5 * (left - right) / bend, -0.5, 0.5)
    return np.asarray((best_NS - steps // 2 + fraction_NS) * STEP, np.float64)


def _nucleus_shift(
    lag_NS: NDArray[np.float64], normal_NS2: NDArray[np.float32], clear_NS: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """max(|translation|, mean |lag|) over the clear sectors, pixels; N."""
    weight_NS = clear_NS.astype(np.float64)
    design_NS3 = np.concatenate([np.ones((*lag_NS.shape, 1)), normal_NS2], axis=2)
    normal_N33 = np.einsum("ns,nsi,nsj->nij", weight_NS, design_NS3, design_NS3) + 0.1 * np.eye(3)
    right_N3 = np.einsum("ns,nsi,ns->ni", weight_NS, design_NS3, lag_NS)
    fitted_N3 = np.linalg.solve(normal_N33, right_N3[..., None])[..., 0]
    mean_N = (weight_NS * np.abs(lag_NS)).sum(axis=1) / np.maximum(weight_NS.sum(axis=1), 1.0)
    return np.asarray(np.maximum(np.hypot(fitted_N3[:, 1], fitted_N3[:, 2]), mean_N), np.float64)

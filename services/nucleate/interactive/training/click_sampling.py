"""Simulated clicks for training (Xu et al. 2016; report section 2.1), with margins scaled from objects of 500 px to nuclei.

G = {p in O or f(p, O) >= d} is the report's set; its complement is the background within d of the nucleus O.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nucleate.interactive.clicks import Click, Mask, depth, error_depths, larger_error

MARGIN = 2  # d_m: px from the boundary
SPACING = 4  # d_s: px between clicks of one sign
BAND = 12  # d: px around the nucleus that count as near background
MAX_POSITIVE, MAX_NEGATIVE = 4, 4
CENTRAL_SHARE = 0.7  # of the first clicks go to the middle, as people and robots click
CLICK_JITTER = 1.2  # px standard deviation, at most 0.3 of the depth


def _spaced_clicks(candidates_HW: Mask, count: int, rng: np.random.Generator, *, positive: bool) -> list[Click]:
    """Up to `count` random candidates, at least SPACING apart."""
    free = candidates_HW.copy()
    chosen: list[Click] = []
    while len(chosen) < count:
        points = np.flatnonzero(free)
        if not len(points):
            break
        y, x = divmod(int(points[rng.integers(len(points))]), free.shape[1])
        chosen.append(Click(x, y, positive))
        free[max(y - SPACING + 1, 0) : y + SPACING, max(x - SPACING + 1, 0) : x + SPACING] = False
    return chosen


def near_background(nucleus_HW: Mask) -> Mask:
    """The complement of G: at least MARGIN and less than BAND px from the nucleus."""
    distance = depth(np.logical_not(np.pad(nucleus_HW, BAND)))[BAND:-BAND, BAND:-BAND]
    return np.logical_and(distance >= MARGIN, distance < BAND)


def positive_clicks(nucleus_HW: Mask, count: int, rng: np.random.Generator) -> list[Click]:
    """Random clicks in O, MARGIN px from its boundary where it is wide enough, SPACING px apart; at least one."""
    inside = depth(nucleus_HW)
    margin = min(MARGIN, float(inside.max()))
    return _spaced_clicks(inside >= margin, max(count, 1), rng, positive=True)


def central_click(nucleus_HW: Mask, rng: np.random.Generator) -> Click:
    """The pixel farthest from the boundary, with Gaussian noise that stays on the nucleus."""
    inside = depth(nucleus_HW)
    y, x = divmod(int(inside.argmax()), nucleus_HW.shape[1])
    jitter = min(CLICK_JITTER, 0.3 * float(inside.max()))
    dx, dy = np.rint(rng.normal(0, jitter, 2)).astype(int).tolist()
    height, width = nucleus_HW.shape
    if 0 <= y + dy < height and 0 <= x + dx < width and nucleus_HW[y + dy, x + dx]:
        return Click(x + dx, y + dy, positive=True)
    return Click(x, y, positive=True)


def random_negatives(nucleus_HW: Mask, count: int, rng: np.random.Generator) -> list[Click]:
    """Strategy 1: random clicks on the near background."""
    return _spaced_clicks(near_background(nucleus_HW), count, rng, positive=False)


def neighbour_negatives(instances_HW: NDArray[np.int32], label: int, count: int, rng: np.random.Generator) -> list[Click]:
    """Strategy 2: random clicks on other nuclei, MARGIN px from the background where they are wide enough."""
    others = np.logical_and(instances_HW > 0, instances_HW != label)
    inside = depth(others)
    return _spaced_clicks(inside >= min(MARGIN, max(float(inside.max()), 1.0)), count, rng, positive=False)


def surrounding_negatives(nucleus_HW: Mask, count: int, rng: np.random.Generator) -> list[Click]:
    """Strategy 3: the first at random on the near background, each next one farthest from the clicks so far and from G."""
    band = near_background(nucleus_HW)
    chosen = _spaced_clicks(band, min(count, 1), rng, positive=False)
    while chosen and len(chosen) < count:
        free = band.copy()
        for click in chosen:
            free[click.y, click.x] = False
        distance = depth(free)
        if distance.max() <= 0:
            break
        y, x = divmod(int(distance.argmax()), band.shape[1])
        chosen.append(Click(x, y, positive=False))
    return chosen


def first_clicks(instances_HW: NDArray[np.int32], label: int, rng: np.random.Generator) -> list[Click]:
    """The clicks a simulated user starts with: mostly one central click, else one anywhere or a mix of all strategies."""
    nucleus_HW = instances_HW == label
    if rng.random() < CENTRAL_SHARE:
        return [central_click(nucleus_HW, rng)]
    if rng.random() < 0.5:
        return positive_clicks(nucleus_HW, 1, rng)
    clicks = positive_clicks(nucleus_HW, int(rng.integers(1, MAX_POSITIVE + 1)), rng)
    count = int(rng.integers(0, MAX_NEGATIVE + 1))
    match int(rng.integers(3)):
        case 0:
            return clicks + random_negatives(nucleus_HW, count, rng)
        case 1:
            return clicks + neighbour_negatives(instances_HW, label, count, rng)
        case _:
            return clicks + surrounding_negatives(nucleus_HW, count, rng)


def correcting_click(truth_HW: Mask, mask_HW: Mask, clicks: list[Click], rng: np.random.Generator) -> Click | None:
    """A click somewhere in the inner half of the larger error region (Sofiiuk et al. 2021); None when nothing is wrong."""
    region, positive = larger_error(*error_depths(truth_HW, mask_HW, clicks))
    if region.max() <= 0:
        return None
    points = np.flatnonzero(region > region.max() / 2)
    y, x = divmod(int(points[rng.integers(len(points))]), region.shape[1])
    return Click(x, y, positive)

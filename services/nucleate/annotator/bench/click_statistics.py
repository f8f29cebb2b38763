"""Statistics of an evaluation by clicks, with bootstrap intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nucleate.annotator.bench.clicked_nucleus import NucleusRecord

TARGETS = (0.80, 0.85, 0.90)
RESAMPLES = 1000
_PERCENTILES = (2.5, 97.5)  # of a 95 % interval


@dataclass(frozen=True, eq=False)
class ClickStatistics:
    """Means over N nuclei: `iou` (K) after 1..K clicks, `noc` (T) number of clicks to every one of TARGETS.

    `iou_interval` (K x 2) and `noc_interval` (T x 2) are low and high of 95 % bootstrap intervals; `failures` (T) counts nuclei
    that never reached the target.
    """

    iou: NDArray[np.float64]
    iou_interval: NDArray[np.float64]
    noc: NDArray[np.float64]
    noc_interval: NDArray[np.float64]
    failures: NDArray[np.int64]


def iou_curves(records: Sequence[NucleusRecord], max_clicks: int) -> NDArray[np.float64]:
    """IoU after 1..most clicks, N x most; a nucleus that is done keeps its last IoU."""
    curves_NK = np.zeros((len(records), max_clicks))
    for row_K, record in zip(curves_NK, records, strict=True):
        reached = record.iou or [0.0]
        row_K[: len(reached)] = reached
        row_K[len(reached) :] = reached[-1]
    return curves_NK


def numbers_of_clicks(records: Sequence[NucleusRecord], max_clicks: int) -> NDArray[np.float64]:
    """Clicks to every one of TARGETS, N x T; `max_clicks` where a target was not reached."""
    return np.array([[record.clicks_to(target) or max_clicks for target in TARGETS] for record in records], np.float64)


def click_statistics(records: Sequence[NucleusRecord], max_clicks: int, seed: int) -> ClickStatistics:
    """Means and intervals of at least one record of no more than `max_clicks` clicks."""
    curves_NK, noc_NT = iou_curves(records, max_clicks), numbers_of_clicks(records, max_clicks)
    images = [record.image for record in records]
    interval = bootstrap(np.concatenate([curves_NK, noc_NT], axis=1), images, seed)
    reached_NT = np.array([[record.clicks_to(target) > 0 for target in TARGETS] for record in records])
    return ClickStatistics(
        curves_NK.mean(0), interval[:max_clicks], noc_NT.mean(0), interval[max_clicks:], (~reached_NT).sum(0)
    )


def bootstrap(values_NV: NDArray[np.float64], groups: Sequence[str], seed: int) -> NDArray[np.float64]:
    """95 % intervals of the means of V columns, V x (low, high).

    Two stages, as nuclei of one image are alike: groups are drawn with replacement, then as many rows of each as it has
    (Davison & Hinkley 1997, section 3.8).
    """
    rng = np.random.default_rng(seed)
    _, group_N, sizes_G = np.unique(np.array(groups), return_inverse=True, return_counts=True)
    rows_N, starts_G = np.argsort(group_N, kind="stable"), np.cumsum(sizes_G) - sizes_G
    means = np.empty((RESAMPLES, values_NV.shape[1]))
    for resample in range(RESAMPLES):
        drawn_G = rng.integers(len(sizes_G), size=len(sizes_G))
        sizes_M = sizes_G[drawn_G].repeat(sizes_G[drawn_G])
        within_M = (rng.random(len(sizes_M)) * sizes_M).astype(np.intp)
        means[resample] = values_NV[rows_N[starts_G[drawn_G].repeat(sizes_G[drawn_G]) + within_M]].mean(0)
    return np.asarray(np.percentile(means, _PERCENTILES, axis=0).T)


def worsened_share(records: Sequence[NucleusRecord]) -> float:
    """Share of the clicks but the first after which the IoU was lower than before; 0 without any."""
    later = [after < before for record in records for before, after in zip(record.iou, record.iou[1:], strict=False)]
    return sum(later) / len(later) if later else 0.0


def honoured_share(counts: Sequence[Sequence[int]]) -> float:
    """Share of clicks on the right side over all answers, where entry k of a sequence counts them among k clicks."""
    asked = sum(len(each) * (len(each) + 1) // 2 for each in counts)
    return sum(map(sum, counts)) / asked if asked else 1.0


def percentiles(values: Sequence[float]) -> tuple[float, float, float]:
    """50th, 90th and 99th; zeros without values."""
    p50, p90, p99 = np.percentile(values, (50, 90, 99)).tolist() if values else (0.0, 0.0, 0.0)
    return p50, p90, p99

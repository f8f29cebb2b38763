"""A classifier two-sample test whose folds keep all that comes from one source image together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nucleate.errors import InvalidInput
from nucleate.synthesis.realism.forest import grow

_FOLDS = 8
_RESAMPLES = 500


@dataclass(frozen=True)
class TwoSample:
    """`auc` on sources not trained on, its 95 % bootstrap interval over sources, and each feature's importance (sum 1)."""

    auc: float
    interval: tuple[float, float]
    importance: NDArray[np.float64]


def test_two_samples(
    features_NF: NDArray[np.float32], synthetic_N: NDArray[np.bool_], group_N: NDArray[np.integer]
) -> TwoSample:
    """Out-of-fold AUC of a forest of extremely randomized trees, and what it used.

    Args:
        features_NF: one row per crop.
        synthetic_N: whether the crop is synthetic.
        group_N: the source image of each crop; what shares a group is never on both sides of a fold.

    Raises:
        InvalidInput: fewer than two groups hold real crops, or fewer than two hold synthetic ones.

    """
    for kind, chosen in (("real", ~synthetic_N), ("synthetic", synthetic_N)):
        if len(np.unique(group_N[chosen])) < 2:
            raise InvalidInput(f"the two-sample test needs {kind} crops of at least two source images: give more images")
    fold_N = _folds(group_N, synthetic_N)
    score_N = np.zeros(len(features_NF))
    importance = np.zeros(features_NF.shape[1])
    for fold in np.unique(fold_N):
        held = fold_N == fold
        forest = grow(features_NF[~held], synthetic_N[~held], int(fold))
        score_N[held] = forest.score(features_NF[held])
        importance += forest.importance
    groups, index_N = np.unique(group_N, return_inverse=True)
    return TwoSample(
        area_under_curve(score_N, synthetic_N),
        _interval(score_N, synthetic_N, index_N, len(groups)),
        importance / importance.sum(),
    )


test_two_samples.__test__ = False  # type: ignore[attr-defined]  # a statistical test, not one for pytest


def area_under_curve(score_N: NDArray[np.float64], positive_N: NDArray[np.bool_]) -> float:
    """P(score of a positive > score of a negative), ties counted half (Mann-Whitney)."""
    _, rank, count = np.unique(score_N, return_inverse=True, return_counts=True)
    middle = np.cumsum(count) - (count - 1) / 2
    positives, negatives = int(positive_N.sum()), int((~positive_N).sum())
    return float((middle[rank][positive_N].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def _folds(group_N: NDArray[np.integer], synthetic_N: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Groups dealt to folds in turn, those that hold only one kind apart, so that each fold has both where it can."""
    fold_N = np.zeros(len(group_N), np.intp)
    groups = np.unique(group_N)
    kinds = {int(g): (bool((~synthetic_N[group_N == g]).any()), bool(synthetic_N[group_N == g].any())) for g in groups}
    smallest = min(len(np.unique(group_N[chosen])) for chosen in (synthetic_N, ~synthetic_N))
    for kind in set(kinds.values()):
        for turn, group in enumerate(g for g in kinds if kinds[g] == kind):
            fold_N[group_N == group] = turn % min(_FOLDS, smallest)
    return fold_N


def _interval(
    score_N: NDArray[np.float64], synthetic_N: NDArray[np.bool_], index_N: NDArray[np.intp], groups: int
) -> tuple[float, float]:
    """2.5 and 97.5 % quantile of the AUC over resampled groups."""
    rng = np.random.default_rng(1)
    rows = [np.flatnonzero(index_N == group) for group in range(groups)]
    areas = []
    for _ in range(_RESAMPLES):
        chosen = np.concatenate([rows[k] for k in rng.integers(0, groups, groups)])
        if 0 < synthetic_N[chosen].sum() < len(chosen):
            areas.append(area_under_curve(score_N[chosen], synthetic_N[chosen]))
    low, high = np.quantile(areas, (0.025, 0.975))
    return float(low), float(high)

"""Extremely randomized trees (Geurts, Ernst and Wehenkel, Machine Learning 63, 2006) for two classes, in numpy."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

_TREES = 150
_LEAF = 4
_DEPTH = 14


@dataclass
class Forest:
    """Trees grown on rows of features; `importance` is each feature's share of the impurity that splits removed."""

    importance: NDArray[np.float64]
    trees: list[_Tree] = field(default_factory=list)

    def score(self, rows_NF: NDArray[np.float32]) -> NDArray[np.float64]:
        """Mean over trees of the fraction of positives in the leaf of each row, 0..1."""
        total_N = np.zeros(len(rows_NF))
        for tree in self.trees:
            total_N += tree.score(rows_NF)
        return total_N / max(len(self.trees), 1)


@dataclass
class _Tree:
    """Nodes by number: the feature and threshold that split each, its two children, and its fraction of positives."""

    feature: list[int] = field(default_factory=list)
    threshold: list[float] = field(default_factory=list)
    children: list[tuple[int, int]] = field(default_factory=list)
    positive: list[float] = field(default_factory=list)

    def add(self, positive: float) -> int:
        self.feature.append(-1)
        self.threshold.append(0.0)
        self.children.append((0, 0))
        self.positive.append(positive)
        return len(self.feature) - 1

    def score(self, rows_NF: NDArray[np.float32]) -> NDArray[np.float64]:
        feature, threshold, child = np.array(self.feature), np.array(self.threshold), np.array(self.children)
        at_N = np.zeros(len(rows_NF), np.intp)
        for _ in range(_DEPTH):
            inner_N = feature[at_N] >= 0
            values_N = rows_NF[np.arange(len(rows_NF)), np.maximum(feature[at_N], 0)]
            right_N = (values_N > threshold[at_N]).astype(np.intp)
            at_N = np.where(inner_N, child[at_N, right_N], at_N)
        return np.asarray(np.array(self.positive)[at_N])


def grow(rows_NF: NDArray[np.float32], positive_N: NDArray[np.bool_], seed: int) -> Forest:
    """A forest on rows whose classes are taken as equally frequent (the larger one is thinned out for each tree)."""
    classes = [np.flatnonzero(positive_N), np.flatnonzero(~positive_N)]
    fewest = min(len(each) for each in classes)
    forest = Forest(np.zeros(rows_NF.shape[1]))
    for number in range(_TREES):
        rng = np.random.default_rng([seed, number])
        chosen = np.concatenate([rng.choice(each, fewest, replace=False) for each in classes])
        forest.trees.append(_grow_tree(rows_NF[chosen], positive_N[chosen].astype(np.float64), rng, forest.importance))
    forest.importance /= max(float(forest.importance.sum()), 1e-12)
    return forest


def _grow_tree(
    rows_NF: NDArray[np.float32], positive_N: NDArray[np.float64], rng: np.random.Generator, importance: NDArray[np.float64]
) -> _Tree:
    tree = _Tree()
    open_nodes = [(tree.add(float(positive_N.mean())), np.arange(len(rows_NF)), 0)]
    while open_nodes:
        node, index, depth = open_nodes.pop()
        if depth >= _DEPTH or len(index) < 2 * _LEAF or tree.positive[node] in (0.0, 1.0):
            continue
        split = _best_split(rows_NF[index], positive_N[index], rng)
        if split is None:
            continue
        feature, threshold, gain = split
        importance[feature] += gain
        right = rows_NF[index, feature] > threshold
        kept = [index[~right], index[right]]
        numbers = [tree.add(float(positive_N[rows].mean())) for rows in kept]
        tree.feature[node], tree.threshold[node], tree.children[node] = feature, threshold, (numbers[0], numbers[1])
        open_nodes += [(number, rows, depth + 1) for number, rows in zip(numbers, kept, strict=True)]
    return tree


def _best_split(
    rows_NF: NDArray[np.float32], positive_N: NDArray[np.float64], rng: np.random.Generator
) -> tuple[int, float, float] | None:
    """Of random thresholds of sqrt(F) random features the one that lowers Gini impurity most: feature, threshold, gain."""
    features_K = rng.choice(rows_NF.shape[1], max(1, round(np.sqrt(rows_NF.shape[1]))), replace=False)
    values_NK = rows_NF[:, features_K]
    low_K, high_K = values_NK.min(axis=0), values_NK.max(axis=0)
    threshold_K = (low_K + rng.random(len(features_K)) * (high_K - low_K)).astype(np.float32)
    right_NK = values_NK > threshold_K
    total, positives = len(rows_NF), positive_N.sum()
    right_K, right_positive_K = right_NK.sum(axis=0), positive_N @ right_NK
    left_K, left_positive_K = total - right_K, positives - right_positive_K
    allowed_K = (right_K >= _LEAF) & (left_K >= _LEAF)
    if not allowed_K.any():
        return None
    impurity_K = sum(p * (1 - p / np.maximum(n, 1)) for p, n in ((right_positive_K, right_K), (left_positive_K, left_K)))
    gain_K = np.where(allowed_K, positives * (1 - positives / total) - impurity_K, -np.inf)
    best = int(gain_K.argmax())
    return int(features_K[best]), float(threshold_K[best]), float(max(gain_K[best], 0.0))

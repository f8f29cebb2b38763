"""Segmentation scores of one image: DICE1, DICE2, AJI, AJI+, DQ, SQ, PQ, all from one contingency table.

Definitions are those of HoVer-Net's evaluation (Graham et al., Med. Image Anal. 58, 2019), so that figures compare with
published ones: n(t, p) pixels lie in true nucleus t and predicted nucleus p, IoU = n / (|t| + |p| - n).

- DICE1: 2 |T and P| / (|T| + |P|) of the foregrounds.
- DICE2: 2 sum n / sum (|t| + |p|) over every pair that touches (ensemble Dice, Vu et al. 2019).
- AJI:   every true nucleus takes the prediction of highest IoU (the lowest label when equal; predictions may be taken more
         than once); sum n / (sum of the unions + areas of unmatched true and of never-used predicted nuclei) (Kumar 2017).
- AJI+:  the same sum over the one-to-one assignment that maximises the total IoU.
- DQ, SQ: pairs of IoU > 0.5, strictly: TP / (TP + FP/2 + FN/2) and the mean IoU over them; PQ = DQ * SQ (Kirillov 2019).

Both maps empty scores 1 and is flagged, to be left out of means; one empty map scores 0.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from nucleate.errors import SizeMismatch
from nucleate.pathology.instances.instance_map import check_instance_map, relabel

if TYPE_CHECKING:
    from collections.abc import Iterable

#: HoVer-Net's guards against division by zero; they decide ties, so they are part of the definition.
EPS = 1e-6
MATCH_IOU = 0.5


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of one image (or their mean over images), each in [0, 1]."""

    dice1: float
    dice2: float
    aji: float
    ajip: float
    dq: float
    sq: float
    pq: float
    both_empty: bool = False

    def to_dict(self) -> dict[str, float]:
        """Field name to value, `both_empty` left out."""
        values = asdict(self)
        del values["both_empty"]
        return values


@dataclass(frozen=True, slots=True)
class Contingency:
    """Overlapping pairs of nuclei, sorted by true, then predicted label, and every nucleus's area.

    K pairs: `true_of`, `pred_of` (K) are indices into `true_areas` (T) and `pred_areas` (P); `overlap` (K) counts common
    pixels. Counts are float64, exact up to 2**53.
    """

    true_of: NDArray[np.intp]
    pred_of: NDArray[np.intp]
    overlap: NDArray[np.float64]
    true_areas: NDArray[np.float64]
    pred_areas: NDArray[np.float64]

    @property
    def union(self) -> NDArray[np.float64]:
        """Pixels in either nucleus of a pair."""
        return self.true_areas[self.true_of] + self.pred_areas[self.pred_of] - self.overlap


def contingency(true: ArrayLike, pred: ArrayLike) -> Contingency:
    """Count common pixels of every pair of nuclei in one pass over runs of equal label pairs.

    Raises `InvalidMask` for maps that are not HW integers >= 0 and `SizeMismatch` for maps of different shapes.
    """
    t_map, p_map = check_instance_map(true, "the true instance map"), check_instance_map(pred, "the predicted instance map")
    if t_map.shape != p_map.shape:
        raise SizeMismatch(f"the true map is {t_map.shape} and the predicted map {p_map.shape}: score maps of the same image")
    keys = (_narrow(t_map).astype(np.int64) << 32 | _narrow(p_map)).ravel()
    starts = np.concatenate(([0], np.flatnonzero(keys[1:] != keys[:-1]) + 1))
    lengths = np.diff(starts, append=keys.size)
    cells, cell_of_run = np.unique(keys[starts], return_inverse=True)
    pixels = np.bincount(cell_of_run, weights=lengths).astype(np.float64)
    true_index, true_areas = _marginal(cells >> 32, pixels)
    pred_index, pred_areas = _marginal(cells & 0xFFFFFFFF, pixels)
    both = (true_index >= 0) & (pred_index >= 0)
    return Contingency(true_index[both], pred_index[both], pixels[both], true_areas, pred_areas)


def _narrow(instances: NDArray[np.integer]) -> NDArray[np.integer]:
    """Labels that fit 31 bits, so that a pair of them fits one int64 key."""
    return instances if int(instances.max()) < 2**31 else relabel(instances)


def _marginal(labels: NDArray[np.int64], pixels: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Index of each cell's nucleus (-1 for background) and the nuclei's areas, in label order."""
    distinct, index = np.unique(labels, return_inverse=True)
    areas = np.bincount(index, weights=pixels).astype(np.float64)
    if distinct[0] == 0:
        return index - 1, areas[1:]
    return index, areas


def score(true: ArrayLike, pred: ArrayLike) -> Scores:
    """Score a predicted against a true instance map (HW, any integer dtype, any labels >= 0, 0 = background).

    Raises `InvalidMask` for float, bool, negative or non-HW maps and `SizeMismatch` for maps of different shapes.
    """
    return score_table(contingency(true, pred))


def score_table(table: Contingency) -> Scores:
    """The scores of one image from its table, where somebody needs that as well."""
    n_true, n_pred = table.true_areas.size, table.pred_areas.size
    if n_true == 0 or n_pred == 0:
        value = float(n_true == n_pred)
        return Scores(value, value, value, value, value, value, value, both_empty=n_true == n_pred)
    dq, sq = _detection_and_segmentation_quality(table)
    return Scores(
        dice1=float(2 * table.overlap.sum() / (table.true_areas.sum() + table.pred_areas.sum())),
        dice2=_dice2(table),
        aji=_jaccard(table, _best_prediction_per_true(table)),
        ajip=_jaccard(table, _one_to_one(table)),
        dq=dq,
        sq=sq,
        pq=dq * sq,
    )


def mean(scores: Iterable[Scores]) -> Scores:
    """Mean over images; images where both maps are empty say nothing and are left out (all of them: flagged 1.0)."""
    counted = [s for s in scores if not s.both_empty]
    if not counted:
        return Scores(1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, both_empty=True)
    table = np.array([list(s.to_dict().values()) for s in counted])
    return Scores(*table.mean(axis=0).tolist())


def _dice2(table: Contingency) -> float:
    total = float((table.true_areas[table.true_of] + table.pred_areas[table.pred_of]).sum())
    return float(2 * table.overlap.sum() / total) if total else 0.0


def _detection_and_segmentation_quality(table: Contingency) -> tuple[float, float]:
    iou_K = table.overlap / table.union
    matched = iou_K[iou_K > MATCH_IOU]
    dq = 2 * matched.size / (table.true_areas.size + table.pred_areas.size)
    return float(dq), float(matched.sum() / (matched.size + EPS))


def _best_prediction_per_true(table: Contingency) -> NDArray[np.intp]:
    """Pairs, as indices into the table, of each true nucleus with its prediction of highest IoU."""
    iou_K = table.overlap / (table.union + EPS)
    # Stable and least significant key first: by true nucleus, then falling IoU; ties keep the lower label in front.
    order = np.lexsort((-iou_K, table.true_of))
    first = np.ones(order.size, dtype=np.bool_)
    first[1:] = np.diff(table.true_of[order]) != 0
    return order[first]


def _one_to_one(table: Contingency) -> NDArray[np.intp]:
    """Pairs, as indices into the table, of the assignment of maximal total IoU, solved per group of touching nuclei."""
    iou_K = table.overlap / (table.union + EPS)
    n_true, n_pred = table.true_areas.size, table.pred_areas.size
    nodes = n_true + n_pred
    graph = coo_array((np.ones(iou_K.size), (table.true_of, n_true + table.pred_of)), shape=(nodes, nodes))
    component_K = connected_components(graph, directed=False)[1][table.true_of]
    alone_K = np.bincount(component_K)[component_K] == 1
    chosen = [np.flatnonzero(alone_K)]
    rest = np.flatnonzero(~alone_K)
    rest = rest[np.argsort(component_K[rest], kind="stable")]
    for pairs in np.split(rest, np.flatnonzero(np.diff(component_K[rest])) + 1):
        rows, row_of_pair = np.unique(table.true_of[pairs], return_inverse=True)
        columns, column_of_pair = np.unique(table.pred_of[pairs], return_inverse=True)
        iou_TP = np.zeros((rows.size, columns.size))
        iou_TP[row_of_pair, column_of_pair] = iou_K[pairs]
        pair_TP = np.full(iou_TP.shape, -1)
        pair_TP[row_of_pair, column_of_pair] = pairs
        picked = pair_TP[linear_sum_assignment(iou_TP, maximize=True)]
        chosen.append(picked[picked >= 0])
    return np.concatenate(chosen)


def _jaccard(table: Contingency, pairs: NDArray[np.intp]) -> float:
    """Sum of intersections over sum of unions of the pairs plus the areas of all nuclei in no pair."""
    unmatched_T = np.ones(table.true_areas.size, dtype=np.bool_)
    unmatched_T[table.true_of[pairs]] = False
    unused_P = np.ones(table.pred_areas.size, dtype=np.bool_)
    unused_P[table.pred_of[pairs]] = False
    union = table.union[pairs].sum() + table.true_areas[unmatched_T].sum() + table.pred_areas[unused_P].sum()
    return float(table.overlap[pairs].sum() / union)

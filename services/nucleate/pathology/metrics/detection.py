"""Detection and classification of nuclei by their centres, as HoVer-Net is scored (Graham et al. 2019, section 4.2).

True and predicted centroids of one image are assigned one to one at the least total distance; pairs further apart than the
radius do not count (hover_net's pair_coordinates, 12 px at 40x). Counts are added up over all images, then

- F_d   = 2 TP_d / (2 TP_d + FP_d + FN_d) over pairs and unpaired nuclei,
- accuracy = pairs of equal class / pairs,
- F_c   = 2 TP_c / (2 TP_c + 2 FP_c + 2 FN_c + FP_d + FN_d) of class c: pairs where both, only the prediction or only the truth
  has the class, and unpaired predicted and true nuclei of the class (hover_net's compute_stats, weights 2, 2, 1, 1).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from nucleate.errors import TooLarge

RADIUS = 12.0
#: What a row of counts holds, by class and over all classes.
CLASS_COLUMNS = ("both", "only predicted", "only true", "unpaired predicted", "unpaired true")
COLUMNS = ("pairs", "unpaired predicted", "unpaired true", "pairs of equal class")
_MAX_DISTANCES = 100_000_000


def centroids(instances: NDArray[np.integer]) -> NDArray[np.float64]:
    """Centres of mass (x, y) of every nucleus by rising label, N2, px."""
    ys, xs = np.nonzero(instances)
    _, nucleus_P, area_N = np.unique(instances[ys, xs], return_inverse=True, return_counts=True)
    sums = [np.bincount(nucleus_P, weights=axis, minlength=area_N.size) for axis in (xs, ys)]
    return np.asarray(np.stack(sums, axis=1) / area_N[:, None])


def pair_centroids(
    true_T2: NDArray[np.float64], pred_P2: NDArray[np.float64], radius: float = RADIUS
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Indices of the true and predicted centres of each pair.

    Raises:
        TooLarge: over 100 million distances between nuclei of one image.
    """
    if len(true_T2) * len(pred_P2) > _MAX_DISTANCES:
        raise TooLarge(f"{len(true_T2)} true and {len(pred_P2)} predicted nuclei in one image: cut it into regions")
    distance_TP = cdist(true_T2, pred_P2)
    true_K, pred_K = linear_sum_assignment(distance_TP)
    near = distance_TP[true_K, pred_K] <= radius
    return true_K[near], pred_K[near]


Pairs = tuple[NDArray[np.intp], NDArray[np.intp]]


def counts(
    pairs: Pairs, true_class_T: NDArray[np.intp], pred_class_P: NDArray[np.intp], classes: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """COLUMNS over all classes (4) and CLASS_COLUMNS of classes 0..C-1 (C x 5) of one image; add them over images."""
    true_K, pred_K = true_class_T[pairs[0]], pred_class_P[pairs[1]]

    def per_class(values: NDArray[np.intp]) -> NDArray[np.intp]:
        return np.bincount(values, minlength=classes)

    both_C = per_class(true_K[true_K == pred_K])
    lone_pred_C, lone_true_C = per_class(pred_class_P) - per_class(pred_K), per_class(true_class_T) - per_class(true_K)
    by_class = [both_C, per_class(pred_K) - both_C, per_class(true_K) - both_C, lone_pred_C, lone_true_C]
    total = [true_K.size, lone_pred_C.sum(), lone_true_C.sum(), both_C.sum()]
    return np.array(total, np.float64), np.stack(by_class, axis=1).astype(np.float64)


def detection_f(counts_X4: NDArray[np.float64]) -> NDArray[np.float64]:
    """F_d of COLUMNS; NaN without any nucleus."""
    pairs, predicted, true, _ = np.moveaxis(counts_X4, -1, 0)
    return _ratio(2 * pairs, 2 * pairs + predicted + true)


def accuracy(counts_X4: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of pairs that have equal classes; NaN without any pair."""
    return _ratio(counts_X4[..., 3], counts_X4[..., 0])


def class_f(counts_X5: NDArray[np.float64]) -> NDArray[np.float64]:
    """F_c of CLASS_COLUMNS; NaN for a class that occurs on neither side."""
    both, only_predicted, only_true, predicted, true = np.moveaxis(counts_X5, -1, 0)
    return _ratio(2 * both, 2 * (both + only_predicted + only_true) + predicted + true)


def _ratio(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0))

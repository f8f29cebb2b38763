"""Matching of predicted to true nuclei: found, missed, split, merged and extra ones, and their overlay on the image.

A nucleus is found when it and a prediction have IoU > 0.5 (PQ's match). Of the others, a true nucleus is split when two or more
predictions lie mostly inside it, and merged when it lies mostly inside a prediction together with another one; else it is
missed. A prediction that matches nothing is extra, unless it is a fragment of a split nucleus or the union of merged ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from nucleate.pathology.images.overlays import GREEN, SKY, VERMILION, WHITE, YELLOW, Colour
from nucleate.pathology.instances.instance_map import inner_boundary, relabel
from nucleate.pathology.metrics.dice_aji_pq import MATCH_IOU, Contingency

FOUND, MISSED, SPLIT, MERGED, EXTRA, FRAGMENT = range(6)
_CONTAINED = 0.5
_PURPLE: Colour = (204, 121, 167)
#: By outcome; fragments of split and merged nuclei are not drawn, their true nuclei are.
_COLOURS = (GREEN, SKY, YELLOW, _PURPLE, VERMILION)
_NAMES = ("found", "missed", "split", "merged", "extra")
_LEGEND = 22  # px


@dataclass(frozen=True, eq=False)
class MatchOutcomes:
    """Of each true nucleus, T: `FOUND`, `MISSED`, `SPLIT` or `MERGED`; of each prediction, P: `FOUND`, `EXTRA`, `FRAGMENT`."""

    true: NDArray[np.int8]
    predicted: NDArray[np.int8]

    def counts(self) -> dict[str, int]:
        """How many were found, missed, split, merged, and are extra."""
        true = np.bincount(self.true, minlength=MERGED + 1).tolist()
        return dict(zip(_NAMES, [*true[: MERGED + 1], int((self.predicted == EXTRA).sum())], strict=True))


def match_outcomes(table: Contingency) -> MatchOutcomes:
    """Outcomes in the order of the labels."""
    true_K, pred_K, overlap_K = table.true_of, table.pred_of, table.overlap
    matched_K = overlap_K / table.union > MATCH_IOU
    inside_true_K = overlap_K > _CONTAINED * table.pred_areas[pred_K]
    inside_pred_K = overlap_K > _CONTAINED * table.true_areas[true_K]
    fragments_T = np.bincount(true_K[inside_true_K], minlength=table.true_areas.size)
    members_P = np.bincount(pred_K[inside_pred_K], minlength=table.pred_areas.size)
    merged_K = inside_pred_K & (members_P[pred_K] > 1)
    true_T = np.full(table.true_areas.size, MISSED, np.int8)
    true_T[true_K[merged_K]] = MERGED
    true_T[fragments_T > 1] = SPLIT
    true_T[true_K[matched_K]] = FOUND
    pred_P = np.full(table.pred_areas.size, EXTRA, np.int8)
    pred_P[pred_K[inside_true_K & (true_T[true_K] == SPLIT)]] = FRAGMENT
    pred_P[pred_K[merged_K & (true_T[true_K] == MERGED)]] = FRAGMENT
    pred_P[pred_K[matched_K]] = FOUND
    return MatchOutcomes(true_T, pred_P)


def outcome_overlay(
    rgb_HW3: NDArray[np.uint8], true_HW: NDArray[np.int32], pred_HW: NDArray[np.int32], outcomes: MatchOutcomes
) -> NDArray[np.uint8]:
    """The image under contours in the outcomes' colours, and a legend with the counts below; RGB uint8.

    Found and extra ones are drawn as they were predicted, the others as they truly are.
    """
    drawn = rgb_HW3.copy()
    for labels, by_nucleus, shown in (
        (relabel(pred_HW), outcomes.predicted, (FOUND, EXTRA)),
        (relabel(true_HW), outcomes.true, (MISSED, SPLIT, MERGED)),
    ):
        outcome_of = np.concatenate([[FRAGMENT], by_nucleus])[labels]
        edge = inner_boundary(labels)
        for outcome in shown:
            drawn[edge & (outcome_of == outcome)] = _COLOURS[outcome]
    return np.vstack([drawn, _legend(drawn.shape[1], outcomes.counts())])


def _legend(width: int, counts: dict[str, int]) -> NDArray[np.uint8]:
    """A strip with the name and the count of every outcome in its colour."""
    words = [f"{name} {counts[name]}" for name in _NAMES]
    scale = 0.45
    sizes = [cv2.getTextSize(word, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)[0][0] for word in words]
    strip = np.full((_LEGEND, max(width, sum(sizes) + 12 * (len(words) + 1)), 3), 30, np.uint8)
    left = 12
    for word, size, colour in zip(words, sizes, _COLOURS, strict=True):
        cv2.putText(strip, word, (left, 15), cv2.FONT_HERSHEY_SIMPLEX, scale, colour, 1, cv2.LINE_AA)
        left += size + 12
    return (
        strip[:, :width]
        if width >= left
        else np.asarray(cv2.resize(strip, (width, _LEGEND), interpolation=cv2.INTER_AREA), np.uint8)
    )


def grey_canvas(shape: tuple[int, int]) -> NDArray[np.uint8]:
    """The grey background that contours are drawn on where there is no image, RGB uint8."""
    return np.full((*shape, 3), WHITE, np.uint8) // 2

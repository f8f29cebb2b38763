"""Panoptic quality over a whole set of images: PQ+, and mPQ+ over classes (CoNIC; Graham et al., Med. Image Anal. 92, 2024).

Matches are counted per image as for PQ (IoU > 0.5; per class both nuclei have to be of it), added up over all images, and only
then divided: a class that an image lacks leaves no undefined score behind. mPQ+ is the mean over classes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nucleate.pathology.metrics.dice_aji_pq import EPS, MATCH_IOU, Contingency

#: What a row of counts holds.
COLUMNS = ("true positives", "false positives", "false negatives", "sum of IoU")


def counts(table: Contingency) -> NDArray[np.float64]:
    """The four COLUMNS of one image, every nucleus of one class; float64, add them over images."""
    one_class_T, one_class_P = np.zeros(table.true_areas.size, np.intp), np.zeros(table.pred_areas.size, np.intp)
    return np.asarray(counts_by_class(table, one_class_T, one_class_P, 1)[0])


def counts_by_class(
    table: Contingency, true_class_T: NDArray[np.intp], pred_class_P: NDArray[np.intp], classes: int
) -> NDArray[np.float64]:
    """The four COLUMNS of one image for classes 0..C-1, C x 4; classes are in the order of the table's nuclei."""
    iou_K = table.overlap / table.union
    class_K = true_class_T[table.true_of]
    matched = (iou_K > MATCH_IOU) & (class_K == pred_class_P[table.pred_of])
    tp_C = np.bincount(class_K[matched], minlength=classes)
    iou_C = np.bincount(class_K[matched], weights=iou_K[matched], minlength=classes)
    fn_C = np.bincount(true_class_T, minlength=classes) - tp_C
    fp_C = np.bincount(pred_class_P, minlength=classes) - tp_C
    return np.stack([tp_C, fp_C, fn_C, iou_C], axis=1).astype(np.float64)


def quality(counts_X4: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """DQ, SQ and PQ of counts with any leading axes; NaN where there is no nucleus on either side."""
    tp, fp, fn, iou = np.moveaxis(counts_X4, -1, 0)
    total = tp + fp / 2 + fn / 2
    dq = np.divide(tp, total, out=np.full(total.shape, np.nan), where=total > 0)
    sq = iou / (tp + EPS)
    return dq, sq, dq * sq

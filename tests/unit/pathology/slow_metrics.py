"""The scores written straight from their definitions: one mask per nucleus, every pair looked at, no shared table."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment

EPS = 1e-6


def masks_of(instances):
    return [instances == label for label in np.unique(instances) if label != 0]


def overlaps(true_masks, pred_masks):
    inter = np.zeros((len(true_masks), len(pred_masks)))
    union = np.zeros_like(inter)
    for t, true in enumerate(true_masks):
        for p, pred in enumerate(pred_masks):
            inter[t, p] = np.count_nonzero(true & pred)
            union[t, p] = np.count_nonzero(true | pred)
    return inter, union


def touching_overlaps(true, pred, true_masks, pred_masks):
    """The same numbers, only pairs that touch: what published implementations do, so what a speed comparison needs."""
    inter = np.zeros((len(true_masks), len(pred_masks)))
    union = np.zeros_like(inter)
    row = {label: index for index, label in enumerate(label for label in np.unique(pred) if label != 0)}
    for t, mask in enumerate(true_masks):
        for label in np.unique(pred[mask]):
            if label != 0:
                p = row[label]
                total = (mask.astype(np.uint8) + pred_masks[p].astype(np.uint8)).sum()
                inter[t, p] = (mask.astype(np.uint8) * pred_masks[p].astype(np.uint8)).sum()
                union[t, p] = total - inter[t, p]
    return inter, union


def dice1(true, pred):
    return 2 * np.count_nonzero((true > 0) & (pred > 0)) / (np.count_nonzero(true) + np.count_nonzero(pred))


def dice2(inter, true_areas, pred_areas):
    numerator = denominator = 0.0
    for t, p in np.argwhere(inter > 0):
        numerator += 2 * inter[t, p]
        denominator += true_areas[t] + pred_areas[p]
    return numerator / denominator if denominator else 0.0


def jaccard(pairs, inter, union, true_areas, pred_areas):
    top = bottom = 0.0
    for t, p in pairs:
        top += inter[t, p]
        bottom += union[t, p]
    bottom += sum(area for t, area in enumerate(true_areas) if t not in {t for t, _ in pairs})
    bottom += sum(area for p, area in enumerate(pred_areas) if p not in {p for _, p in pairs})
    return top / bottom


def aji(inter, union, true_areas, pred_areas):
    pairs = []
    for t in range(len(true_areas)):
        iou = inter[t] / (union[t] + EPS)
        best = max(range(len(pred_areas)), key=lambda p: (iou[p], -p))
        if iou[best] > 0:
            pairs.append((t, best))
    return jaccard(pairs, inter, union, true_areas, pred_areas)


def ajip(inter, union, true_areas, pred_areas):
    iou = inter / (union + EPS)
    pairs = [(t, p) for t, p in zip(*linear_sum_assignment(-iou), strict=True) if iou[t, p] > 0]
    return jaccard(pairs, inter, union, true_areas, pred_areas)


def panoptic(inter, union):
    matched = [inter[t, p] / union[t, p] for t, p in np.argwhere(inter > 0) if inter[t, p] / union[t, p] > 0.5]
    tp = len(matched)
    fn, fp = inter.shape[0] - tp, inter.shape[1] - tp
    dq = tp / (tp + fp / 2 + fn / 2)
    sq = sum(matched) / (tp + EPS)
    return dq, sq, dq * sq


def score(true, pred, overlaps_of=None):
    """All seven scores by name, for two maps that both hold a nucleus."""
    true_masks, pred_masks = masks_of(true), masks_of(pred)
    inter, union = overlaps(true_masks, pred_masks) if overlaps_of is None else overlaps_of(true, pred, true_masks, pred_masks)
    areas = [np.count_nonzero(m) for m in true_masks], [np.count_nonzero(m) for m in pred_masks]
    dq, sq, pq = panoptic(inter, union)
    return {
        "dice1": dice1(true, pred),
        "dice2": dice2(inter, *areas),
        "aji": aji(inter, union, *areas),
        "ajip": ajip(inter, union, *areas),
        "dq": dq,
        "sq": sq,
        "pq": pq,
    }

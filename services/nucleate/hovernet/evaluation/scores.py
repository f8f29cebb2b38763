"""Predicted against true annotations: every score by image, their means with intervals, and figures of the whole set.

Means are over the images that are not empty on both sides. Figures of the set (PQ+, detection F, and per class where both sides
name classes) add counts up over all images before they divide, so that an image without a class leaves no undefined score.
Intervals are 95 % bootstrap intervals over images.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from nucleate.errors import SizeMismatch
from nucleate.pathology.annotation_formats.labels import Labels
from nucleate.pathology.annotation_formats.reading import read_pair
from nucleate.pathology.metrics import bootstrap, detection, dice_aji_pq, panoptic_plus
from nucleate.pathology.metrics.dice_aji_pq import Scores
from nucleate.pathology.metrics.instance_matching import MatchOutcomes, grey_canvas, match_outcomes, outcome_overlay

_SEED = 0


@dataclasses.dataclass(frozen=True, eq=False)
class ImageScores:
    """Scores of one image, its numbers of nuclei, remarks on its files, and the counts that add up over images.

    `picture` shows the outcomes over the image, where it was asked for. `panoptic` and `detection` are rows of those modules'
    counts; `classes` holds such a pair of rows, and the numbers of true and predicted nuclei, by the name of the class.
    """

    id: str
    scores: Scores
    predicted: int
    true: int
    notes: tuple[str, ...]
    panoptic: NDArray[np.float64]
    detection: NDArray[np.float64]
    classes: Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64], int, int]]
    outcomes: MatchOutcomes
    picture: NDArray[np.uint8] | None = None


@dataclasses.dataclass(frozen=True)
class ClassScores:
    """PQ+ and F_c of one class over the set; None where it occurs on neither side."""

    name: str
    pq: float | None
    f: float | None
    true: int
    predicted: int


@dataclasses.dataclass(frozen=True)
class Summary:
    """Means with the ends of their intervals, which are None for fewer than two images, and figures of the set."""

    mean: Scores
    low: Scores | None
    high: Scores | None
    pq_plus: float
    detection_f: float
    count_error: float
    classes: tuple[ClassScores, ...]


def score(name: str, predicted: bytes, truth: bytes, draw: Callable[[], NDArray[np.uint8] | None] | None = None) -> ImageScores:
    """All scores of one image from the files of both annotations, with a picture where `draw` gives the image or None.

    Raises:
        InvalidMask, TooLarge: a file that is no annotation.
        SizeMismatch: the maps differ in size; the message names the image.
    """
    ours, true = read_pair(predicted, truth, name)
    if true.instances.shape != ours.instances.shape:
        sizes = [f"{labels.instances.shape[1]} x {labels.instances.shape[0]} px" for labels in (ours, true)]
        raise SizeMismatch(
            f"image '{name}': the predicted map is {sizes[0]} and the true map {sizes[1]}; compare maps of one image"
        )
    table = dice_aji_pq.contingency(true.instances, ours.instances)
    pairs = detection.pair_centroids(detection.centroids(true.instances), detection.centroids(ours.instances))
    outcomes = match_outcomes(table)
    one_class_T, one_class_P = (np.zeros(labels.present.size, np.intp) for labels in (true, ours))
    return ImageScores(
        name,
        dice_aji_pq.score_table(table),
        ours.present.size,
        true.present.size,
        (*(f"predicted: {note}" for note in ours.notes), *(f"true: {note}" for note in true.notes)),
        panoptic_plus.counts(table),
        detection.counts(pairs, one_class_T, one_class_P, 1)[0],
        _by_class(true, ours, table, pairs),
        outcomes,
        None if draw is None else _picture(name, draw(), true.instances, ours.instances, outcomes),
    )


def _picture(
    name: str,
    image_HW3: NDArray[np.uint8] | None,
    true_HW: NDArray[np.int32],
    ours_HW: NDArray[np.int32],
    outcomes: MatchOutcomes,
) -> NDArray[np.uint8]:
    height, width = true_HW.shape
    rgb = grey_canvas((height, width)) if image_HW3 is None else image_HW3
    if rgb.shape[:2] != true_HW.shape:
        raise SizeMismatch(f"image '{name}' is {rgb.shape[1]} x {rgb.shape[0]} px and its maps {width} x {height} px")
    return outcome_overlay(rgb, true_HW, ours_HW, outcomes)


def _by_class(
    true: Labels, ours: Labels, table: dice_aji_pq.Contingency, pairs: detection.Pairs
) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64], int, int]]:
    """Counts by class, where both sides have classes."""
    if true.types is None or ours.types is None:
        return {}
    kinds = [[labels.types[int(label)] for label in labels.present] for labels in (true, ours) if labels.types is not None]
    names = sorted({name for side in kinds for name in side})
    place = {name: index for index, name in enumerate(names)}
    true_T, pred_P = (np.array([place[name] for name in side], np.intp) for side in kinds)
    panoptic_C4 = panoptic_plus.counts_by_class(table, true_T, pred_P, len(names))
    detection_C5 = detection.counts(pairs, true_T, pred_P, len(names))[1]
    found = [np.bincount(side, minlength=len(names)) for side in (true_T, pred_P)]
    return {n: (panoptic_C4[i], detection_C5[i], int(found[0][i]), int(found[1][i])) for i, n in enumerate(names)}


def summarise(images: Sequence[ImageScores]) -> Summary:
    """Means, intervals and figures of the set; at least one image."""
    counted = [image.scores for image in images if not image.scores.both_empty]
    low, high = (None, None) if len(counted) < 2 else _interval(counted)
    errors = [abs(image.predicted - image.true) / max(image.true, 1) for image in images]
    names = sorted({name for image in images for name in image.classes})
    return Summary(
        dice_aji_pq.mean(image.scores for image in images),
        low,
        high,
        _value(panoptic_plus.quality(_sum([image.panoptic for image in images]))[2]),
        _value(detection.detection_f(_sum([image.detection for image in images]))),
        float(np.mean(errors)),
        tuple(_class_scores(name, [image.classes[name] for image in images if name in image.classes]) for name in names),
    )


def _interval(counted: Sequence[Scores]) -> tuple[Scores, Scores]:
    values_NS = np.array([list(scores.to_dict().values()) for scores in counted])
    means_BS = bootstrap.weights(len(counted), _SEED) @ values_NS / len(counted)
    low, high = bootstrap.interval(means_BS).T.tolist()
    return Scores(*low), Scores(*high)


def _class_scores(name: str, parts: Sequence[tuple[NDArray[np.float64], NDArray[np.float64], int, int]]) -> ClassScores:
    pq = panoptic_plus.quality(_sum([part[0] for part in parts]))[2]
    f = detection.class_f(_sum([part[1] for part in parts]))
    true, predicted = sum(part[2] for part in parts), sum(part[3] for part in parts)
    return ClassScores(name, _or_none(pq), _or_none(f), true, predicted)


def _sum(rows: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    return np.asarray(np.sum(rows, axis=0))


def _or_none(figure: NDArray[np.float64]) -> float | None:
    return None if np.isnan(figure) else float(figure)


def _value(figure: NDArray[np.float64]) -> float:
    """1 where nothing is to be found and nothing was, as for the scores of one image."""
    return 1.0 if np.isnan(figure) else float(figure)

"""Actions that could raise a window's PQ, each with the gain it is expected to bring.

With S the sum of the IoUs over pairs of IoU > .5, T nuclei and P objects, PQ = 2 S / (T + P) (Kirillov et al. 2019, rewritten:
TP + FP/2 + FN/2 is half of T + P). An added nucleus raises S and P, a deleted object lowers P, a corrected one raises S alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

import numpy as np

from nucleate.annotator.robot.oracle import InstanceMap, Match, match_instances

MATCH_IOU = 0.5  # a nucleus is found by an object of more than this IoU
PRIOR_COUNT = 10  # pseudo-observations that a prior counts for


class ActionKind(Enum):
    """What can be done with one click."""

    ADD = "add"  # click a nucleus that no object covers
    CORRECT = "correct"  # click where an object is wrong about its nucleus
    DELETE = "delete"  # drop an object that is no nucleus


@dataclass(frozen=True)
class Action:
    """A click on `nucleus` or `object_id` (0 = there is none); `gain` is the PQ it is expected to add, per click."""

    kind: ActionKind
    nucleus: int
    object_id: int
    gain: float


@dataclass
class GainEstimator:
    """Running estimates of what clicks bring: a person learns within minutes what the tool gets right.

    Every estimate starts from a prior, so that a few unlucky clicks turn nobody away from what works elsewhere. An outcome is
    the IoU that a click brought, 0 where it stayed under .5. `failed` holds, for nuclei that were clicked in vain and left, how
    many clicks and the best IoU.
    """

    _added: list[float] = field(default_factory=lambda: [0.6] * PRIOR_COUNT)
    _rescued: list[tuple[float, float]] = field(default_factory=lambda: [(0.5, 1.0)] * PRIOR_COUNT)
    _improved: list[float] = field(default_factory=lambda: [0.3] * PRIOR_COUNT)
    failed: dict[int, tuple[int, float]] = field(default_factory=dict)

    def record_added(self, after: float) -> None:
        """A first click on a missed nucleus came to this IoU."""
        self._added.append(_outcome(after))

    def record_corrected(self, before: float, after: float) -> None:
        """A further click took an object from one IoU to another."""
        if before > MATCH_IOU:
            self._improved.append(max(after - before, 0.0) / (1 - before) if before < 1 else 0.0)
        else:
            self._rescued.append((_outcome(after), _success_weight(before)))

    @property
    def added(self) -> float:
        """IoU that a first click on a missed nucleus brings."""
        return sum(self._added) / len(self._added)

    def rescued(self, iou: float) -> float:
        """IoU that a click on an object of at most .5 brings: the nearer it is, the likelier it passes."""
        outcomes = sum(outcome for outcome, _ in self._rescued)
        return _success_weight(iou) * outcomes / sum(weight for _, weight in self._rescued)

    def improved(self, iou: float) -> float:
        """IoU that a click on an object of more than .5 adds."""
        return (1 - iou) * sum(self._improved) / len(self._improved)


def _outcome(iou: float) -> float:
    return iou if iou > MATCH_IOU else 0.0


def _success_weight(iou: float) -> float:
    """How much likelier a click is to take an object past .5 the nearer it is: 0 at IoU .1, 1 at .45 and above."""
    return min(max((iou - 0.1) / 0.35, 0.01), 1.0)


@dataclass(eq=False)
class WindowMatching:
    """A window's nuclei and objects (label: area) as they are; pairs one to one, best IoU first."""

    oracle: InstanceMap
    found: InstanceMap
    pairs: list[Match]
    nuclei: dict[int, int]
    objects: dict[int, int]

    @classmethod
    def of(cls, oracle_HW: InstanceMap, objects_HW: InstanceMap) -> WindowMatching:
        """Compare the maps."""
        return cls(oracle_HW, objects_HW, match_instances(oracle_HW, objects_HW), _areas(oracle_HW), _areas(objects_HW))

    @property
    def pq(self) -> float:
        """Panoptic quality; 1 where there is nothing to find and nothing found."""
        return self.pq_with() if self.nuclei or self.objects else 1.0

    def pq_with(self, quality: float = 0.0, objects: int = 0) -> float:
        """PQ if the sum of the IoUs and the number of objects were so much higher."""
        total = sum(pair.iou for pair in self.pairs if pair.iou > MATCH_IOU) + quality
        count = len(self.nuclei) + len(self.objects) + objects
        return 2 * total / count if count else 0.0


def ranked_actions(matching: WindowMatching, estimator: GainEstimator) -> list[Action]:
    """Everything worth a click, the best first; of equal gains the nucleus of the most typical size, then the lower label."""
    found = [*_corrections(matching, estimator), *_additions(matching, estimator), *_deletions(matching)]
    typical = float(np.median(list(matching.nuclei.values()))) if matching.nuclei else 1.0
    size_deviation = {0: 0.0} | {label: abs(math.log(area / typical)) for label, area in matching.nuclei.items()}
    return sorted(
        (action for action in found if action.gain > 0),
        key=lambda action: (-action.gain, size_deviation[action.nucleus], action.nucleus, action.object_id),
    )


def _corrections(matching: WindowMatching, estimator: GainEstimator) -> Iterator[Action]:
    for pair in matching.pairs:
        iou_gain = estimator.improved(pair.iou) if pair.iou > MATCH_IOU else estimator.rescued(pair.iou)
        yield Action(ActionKind.CORRECT, pair.nucleus, pair.object_id, matching.pq_with(iou_gain) - matching.pq)


def _additions(matching: WindowMatching, estimator: GainEstimator) -> Iterator[Action]:
    """Missed nuclei; one that was tried in vain takes all those clicks again and one more."""
    found = {pair.nucleus for pair in matching.pairs if pair.iou > MATCH_IOU}
    free = np.bincount(matching.oracle[matching.found == 0], minlength=1 + max(matching.nuclei, default=0))
    for label, area in matching.nuclei.items():
        if label in found or not free[label]:
            continue
        clicks, reached = estimator.failed.get(label, (0, 0.0))
        # Other objects keep their pixels, so that no more than the free share can be had.
        iou_gain = (estimator.rescued(reached) if clicks else estimator.added) * float(free[label]) / area
        yield Action(ActionKind.ADD, label, 0, (matching.pq_with(iou_gain, objects=1) - matching.pq) / (clicks + 1))


def _deletions(matching: WindowMatching) -> Iterator[Action]:
    found = {pair.object_id for pair in matching.pairs if pair.iou > MATCH_IOU}
    gain = matching.pq_with(objects=-1) - matching.pq
    yield from (Action(ActionKind.DELETE, 0, object_id, gain) for object_id in matching.objects if object_id not in found)


def _areas(labels_HW: InstanceMap) -> dict[int, int]:
    labels, counts = np.unique(labels_HW, return_counts=True)
    return {int(label): int(count) for label, count in zip(labels, counts, strict=True) if label}

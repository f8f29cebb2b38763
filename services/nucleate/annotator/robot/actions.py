"""What a person would do next to raise a window's PQ: every sensible action, and what it is likely to be worth.

With S the sum of the IoUs over pairs of IoU > .5, T nuclei and P objects, PQ = 2 S / (T + P) (Kirillov et al. 2019, rewritten:
TP + FP/2 + FN/2 is half of T + P). An added nucleus raises S and P, a deleted object lowers P, a corrected one raises S alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

import numpy as np

from nucleate.annotator.robot.oracle import Map, Match, match

MATCH = 0.5  # a nucleus is found by an object of more than this IoU
PATIENCE = 10  # clicks that a guess counts for


class Kind(Enum):
    """What can be done with one click."""

    ADD = "add"  # click a nucleus that no object covers
    CORRECT = "correct"  # click where an object is wrong about its nucleus
    DELETE = "delete"  # drop an object that is no nucleus


@dataclass(frozen=True)
class Action:
    """A click on `nucleus` or `object_id` (0 = there is none); `gain` is the PQ it is expected to add, per click."""

    kind: Kind
    nucleus: int
    object_id: int
    gain: float


@dataclass
class Experience:
    """What clicks have come to so far: a person learns within minutes what the tool gets right.

    Every rate starts from a guess, so that a few unlucky clicks turn nobody away from what works elsewhere. An outcome is the
    IoU that a click brought, 0 where it stayed under .5. `tried` holds, for nuclei that were clicked in vain and left, the
    clicks that took and the best IoU.
    """

    _added: list[float] = field(default_factory=lambda: [0.6] * PATIENCE)
    _rescued: list[tuple[float, float]] = field(default_factory=lambda: [(0.5, 1.0)] * PATIENCE)
    _improved: list[float] = field(default_factory=lambda: [0.3] * PATIENCE)
    tried: dict[int, tuple[int, float]] = field(default_factory=dict)

    def note_added(self, after: float) -> None:
        """A first click on a missed nucleus came to this IoU."""
        self._added.append(_outcome(after))

    def note_corrected(self, before: float, after: float) -> None:
        """A further click took an object from one IoU to another."""
        if before > MATCH:
            self._improved.append(max(after - before, 0.0) / (1 - before) if before < 1 else 0.0)
        else:
            self._rescued.append((_outcome(after), _nearness(before)))

    @property
    def added(self) -> float:
        """IoU that a first click on a missed nucleus brings."""
        return sum(self._added) / len(self._added)

    def rescued(self, iou: float) -> float:
        """IoU that a click on an object of at most .5 brings: the nearer it is, the likelier it passes."""
        outcomes = sum(outcome for outcome, _ in self._rescued)
        return _nearness(iou) * outcomes / sum(nearness for _, nearness in self._rescued)

    def improved(self, iou: float) -> float:
        """IoU that a click on an object of more than .5 adds."""
        return (1 - iou) * sum(self._improved) / len(self._improved)


def _outcome(iou: float) -> float:
    return iou if iou > MATCH else 0.0


def _nearness(iou: float) -> float:
    """How much likelier a click is to take an object past .5 the nearer it is: 0 at IoU .1, 1 at .45 and above."""
    return min(max((iou - 0.1) / 0.35, 0.01), 1.0)


@dataclass(eq=False)
class Standing:
    """A window's nuclei and objects (label: area) as they are; pairs one to one, best IoU first."""

    oracle: Map
    found: Map
    pairs: list[Match]
    nuclei: dict[int, int]
    objects: dict[int, int]

    @classmethod
    def of(cls, oracle_HW: Map, objects_HW: Map) -> Standing:
        """Compare the maps."""
        return cls(oracle_HW, objects_HW, match(oracle_HW, objects_HW), _areas(oracle_HW), _areas(objects_HW))

    @property
    def pq(self) -> float:
        """Panoptic quality; 1 where there is nothing to find and nothing found."""
        return self.pq_with() if self.nuclei or self.objects else 1.0

    def pq_with(self, quality: float = 0.0, objects: int = 0) -> float:
        """PQ if the sum of the IoUs and the number of objects were so much higher."""
        total = sum(pair.iou for pair in self.pairs if pair.iou > MATCH) + quality
        count = len(self.nuclei) + len(self.objects) + objects
        return 2 * total / count if count else 0.0


def actions(standing: Standing, experience: Experience) -> list[Action]:
    """Everything worth a click, the best first; of equal gains the nucleus of the most typical size, then the lower label."""
    found = [*_corrections(standing, experience), *_additions(standing, experience), *_deletions(standing)]
    typical = float(np.median(list(standing.nuclei.values()))) if standing.nuclei else 1.0
    oddity = {0: 0.0} | {label: abs(math.log(area / typical)) for label, area in standing.nuclei.items()}
    return sorted(
        (action for action in found if action.gain > 0),
        key=lambda action: (-action.gain, oddity[action.nucleus], action.nucleus, action.object_id),
    )


def _corrections(standing: Standing, experience: Experience) -> Iterator[Action]:
    for pair in standing.pairs:
        brings = experience.improved(pair.iou) if pair.iou > MATCH else experience.rescued(pair.iou)
        yield Action(Kind.CORRECT, pair.nucleus, pair.object_id, standing.pq_with(brings) - standing.pq)


def _additions(standing: Standing, experience: Experience) -> Iterator[Action]:
    """Missed nuclei; one that was tried in vain takes all those clicks again and one more."""
    found = {pair.nucleus for pair in standing.pairs if pair.iou > MATCH}
    free = np.bincount(standing.oracle[standing.found == 0], minlength=1 + max(standing.nuclei, default=0))
    for label, area in standing.nuclei.items():
        if label in found or not free[label]:
            continue
        clicks, reached = experience.tried.get(label, (0, 0.0))
        # Other objects keep their pixels, so that no more than the free share can be had.
        brings = (experience.rescued(reached) if clicks else experience.added) * float(free[label]) / area
        yield Action(Kind.ADD, label, 0, (standing.pq_with(brings, objects=1) - standing.pq) / (clicks + 1))


def _deletions(standing: Standing) -> Iterator[Action]:
    found = {pair.object_id for pair in standing.pairs if pair.iou > MATCH}
    gain = standing.pq_with(objects=-1) - standing.pq
    yield from (Action(Kind.DELETE, 0, object_id, gain) for object_id in standing.objects if object_id not in found)


def _areas(labels_HW: Map) -> dict[int, int]:
    labels, counts = np.unique(labels_HW, return_counts=True)
    return {int(label): int(count) for label, count in zip(labels, counts, strict=True) if label}

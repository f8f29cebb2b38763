"""What a person would do next to raise a window's PQ: every sensible action, and what it is likely to be worth.

With S the sum of the IoUs over pairs of IoU > .5, T nuclei and P objects, PQ = 2 S / (T + P) (Kirillov et al. 2019, rewritten:
TP + FP/2 + FN/2 is half of T + P). An added nucleus raises S and P, a deleted object lowers P, a corrected one raises S alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

import numpy as np

from nucleate.annotator.oracle import Map, Match, match

MATCH = 0.5  # a nucleus is found by an object of more than this IoU


class Kind(Enum):
    """What can be done with one click."""

    ADD = "add"  # click a nucleus that no object covers
    CORRECT = "correct"  # click where an object is wrong about its nucleus
    DELETE = "delete"  # drop an object that is no nucleus


@dataclass(frozen=True)
class Action:
    """One click on `nucleus` or `object_id` (0 = there is none) and the PQ it is expected to add."""

    kind: Kind
    nucleus: int
    object_id: int
    gain: float


@dataclass
class Experience:
    """What clicks have come to so far: a person learns within minutes what the tool gets right.

    Each figure starts from a guess that counts as four clicks. `added` is the IoU that a first click on a missed nucleus brings
    (0 where it stays under .5), `rescued` the same of a click on an object of IoU <= .5, `improved` the part of the missing IoU
    that a click on a better object brings.
    """

    added: list[float] = field(default_factory=lambda: [0.6] * 4)
    rescued: list[float] = field(default_factory=lambda: [0.4] * 4)
    improved: list[float] = field(default_factory=lambda: [0.3] * 4)

    def expected(self, outcomes: list[float]) -> float:
        """Mean outcome."""
        return sum(outcomes) / len(outcomes)


@dataclass(eq=False)
class Standing:
    """A window's nuclei and objects as they are: pairs best IoU first, one to one, and the PQ."""

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
    def quality(self) -> float:
        """Sum of the IoUs of found nuclei."""
        return sum(pair.iou for pair in self.pairs if pair.iou > MATCH)

    @property
    def pq(self) -> float:
        """Panoptic quality; 1 where there is nothing to find and nothing found."""
        count = len(self.nuclei) + len(self.objects)
        return 2 * self.quality / count if count else 1.0


def actions(standing: Standing, experience: Experience) -> list[Action]:
    """Everything worth a click, the best first; of equal gains the larger nucleus, then the lower label."""
    found = [*_corrections(standing, experience), *_additions(standing, experience), *_deletions(standing)]
    area = {0: 0, **standing.nuclei}
    return sorted(
        (action for action in found if action.gain > 0),
        key=lambda action: (-action.gain, -area[action.nucleus], action.nucleus, action.object_id),
    )


def _corrections(standing: Standing, experience: Experience) -> list[Action]:
    count = len(standing.nuclei) + len(standing.objects)
    chosen = []
    for pair in standing.pairs:
        better = experience.expected(experience.improved) * (1 - pair.iou)
        if pair.iou > MATCH:
            gain = 2 * better / count
        else:  # worth something only if it passes .5, so the nearer the likelier
            gain = 2 * experience.expected(experience.rescued) * min(1.0, pair.iou / 0.4) / count
        chosen.append(Action(Kind.CORRECT, pair.nucleus, pair.object_id, gain))
    return chosen


def _additions(standing: Standing, experience: Experience) -> list[Action]:
    covered = {pair.nucleus for pair in standing.pairs}
    missed = np.isin(standing.oracle, [label for label in standing.nuclei if label not in covered])
    free = np.bincount(standing.oracle[missed & (standing.found == 0)], minlength=1)
    count = len(standing.nuclei) + len(standing.objects)
    chosen = []
    for label, area in standing.nuclei.items():
        if label in covered or label >= len(free) or not free[label]:
            continue
        # Other objects keep their pixels, so that no more than the free share can be had.
        brings = experience.expected(experience.added) * float(free[label]) / area
        gain = 2 * (standing.quality + brings) / (count + 1) - standing.pq
        chosen.append(Action(Kind.ADD, label, 0, gain))
    return chosen


def _deletions(standing: Standing) -> list[Action]:
    count = len(standing.nuclei) + len(standing.objects)
    found = {pair.object_id: pair.nucleus for pair in standing.pairs if pair.iou > MATCH}
    gain = 2 * standing.quality / (count - 1) - standing.pq if count > 1 else 0.0
    return [Action(Kind.DELETE, 0, object_id, gain) for object_id in standing.objects if object_id not in found]


def _areas(labels_HW: Map) -> dict[int, int]:
    labels, counts = np.unique(labels_HW, return_counts=True)
    return {int(label): int(count) for label, count in zip(labels, counts, strict=True) if label}

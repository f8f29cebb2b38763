"""How many clicks a window is likely to take, with its proposals and without: junk is better refused as a whole."""

from __future__ import annotations

import math
from dataclasses import dataclass

from nucleate.annotator.robot.actions import MATCH, Experience, Standing

_FOUND_IOU = 0.7  # what an object that passes .5 has, about: outcome / this = the chance to pass


@dataclass
class Outlook:
    """A window in figures: sum of IoUs, objects, nuclei on no object, IoUs of poor objects best first, deletable objects.

    Counts are expectations, so no whole numbers.
    """

    nuclei: int
    quality: float
    objects: float
    missed: int
    poor: list[float]
    false: float

    @classmethod
    def of(cls, standing: Standing) -> Outlook:
        """The window as it is."""
        good = [pair.iou for pair in standing.pairs if pair.iou > MATCH]
        poor = sorted((pair.iou for pair in standing.pairs if pair.iou <= MATCH), reverse=True)
        nuclei, objects = len(standing.nuclei), len(standing.objects)
        return cls(nuclei, sum(good), objects, nuclei - len(standing.pairs), poor, objects - len(standing.pairs))

    @property
    def pq(self) -> float:
        """Expected PQ."""
        return _pq(self.quality, self.nuclei + self.objects)

    def step(self, experience: Experience) -> bool:
        """Spend the click of the largest expected gain; False if there is none."""
        count, rescued = self.nuclei + self.objects, experience.rescued(self.poor[0]) if self.poor else 0.0
        chance = min(experience.added / _FOUND_IOU, 1.0)
        gains = {
            self._rescue: _pq(self.quality + rescued, count),
            self._add: _pq(self.quality + experience.added, count + chance) if self.missed else 0.0,
            self._delete: _pq(self.quality, count - 1) if self.false >= 1 else 0.0,
        }
        best = max(gains, key=lambda step: gains[step])
        if gains[best] <= self.pq:
            return False
        best(experience)
        return True

    def _rescue(self, experience: Experience) -> None:
        rescued = experience.rescued(self.poor.pop(0))
        self.quality += rescued
        self.false += 1 - min(rescued / _FOUND_IOU, 1.0)

    def _add(self, experience: Experience) -> None:
        self.quality += experience.added
        self.objects += min(experience.added / _FOUND_IOU, 1.0)
        self.missed -= 1

    def _delete(self, _experience: Experience) -> None:
        self.objects -= 1
        self.false -= 1


def clicks_needed(outlook: Outlook, target_pq: float, experience: Experience) -> float:
    """Expected clicks until the target; infinite where single clicks will not reach it."""
    clicks = 0
    while outlook.pq < target_pq:
        if not outlook.step(experience):
            return math.inf
        clicks += 1
    return clicks


def worth_refusing(standing: Standing, target_pq: float) -> bool:
    """Tell whether a person who does not know the tool yet would rather start from nothing, at the price of a click."""
    with_proposals = clicks_needed(Outlook.of(standing), target_pq, Experience())
    empty = Outlook(len(standing.nuclei), 0.0, 0.0, len(standing.nuclei), [], 0.0)
    return 1 + clicks_needed(empty, target_pq, Experience()) < with_proposals


def _pq(quality: float, count: float) -> float:
    return 2 * quality / count if count else 0.0

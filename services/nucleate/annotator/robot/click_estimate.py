"""Expected number of clicks of a window, with its proposals and without: bad proposals are better refused as a whole."""

from __future__ import annotations

import math
from dataclasses import dataclass

from nucleate.annotator.robot.actions import MATCH_IOU, GainEstimator, WindowMatching

_FOUND_IOU = 0.7  # what an object that passes .5 has, about: outcome / this = the chance to pass


@dataclass
class ExpectedWindow:
    """A window in expectation: sum of IoUs, objects, nuclei on no object, IoUs of poor objects best first, deletable objects.

    Counts are expectations, so not whole.
    """

    nuclei: int
    quality: float
    objects: float
    missed: int
    poor: list[float]
    false: float

    @classmethod
    def of(cls, matching: WindowMatching) -> ExpectedWindow:
        """The window as it is."""
        good = [pair.iou for pair in matching.pairs if pair.iou > MATCH_IOU]
        poor = sorted((pair.iou for pair in matching.pairs if pair.iou <= MATCH_IOU), reverse=True)
        nuclei, objects = len(matching.nuclei), len(matching.objects)
        return cls(nuclei, sum(good), objects, nuclei - len(matching.pairs), poor, objects - len(matching.pairs))

    @property
    def pq(self) -> float:
        """Expected PQ."""
        return _pq(self.quality, self.nuclei + self.objects)

    def step(self, estimator: GainEstimator) -> bool:
        """Spend the click of the largest expected gain; False if there is none."""
        count, rescued = self.nuclei + self.objects, estimator.rescued(self.poor[0]) if self.poor else 0.0
        chance = min(estimator.added / _FOUND_IOU, 1.0)
        gains = {
            self._rescue: _pq(self.quality + rescued, count),
            self._add: _pq(self.quality + estimator.added, count + chance) if self.missed else 0.0,
            self._delete: _pq(self.quality, count - 1) if self.false >= 1 else 0.0,
        }
        best = max(gains, key=lambda step: gains[step])
        if gains[best] <= self.pq:
            return False
        best(estimator)
        return True

    def _rescue(self, estimator: GainEstimator) -> None:
        rescued = estimator.rescued(self.poor.pop(0))
        self.quality += rescued
        self.false += 1 - min(rescued / _FOUND_IOU, 1.0)

    def _add(self, estimator: GainEstimator) -> None:
        self.quality += estimator.added
        self.objects += min(estimator.added / _FOUND_IOU, 1.0)
        self.missed -= 1

    def _delete(self, _estimator: GainEstimator) -> None:
        self.objects -= 1
        self.false -= 1


def expected_clicks(window: ExpectedWindow, target_pq: float, estimator: GainEstimator) -> float:
    """Expected clicks until the target; infinite where single clicks will not reach it."""
    clicks = 0
    while window.pq < target_pq:
        if not window.step(estimator):
            return math.inf
        clicks += 1
    return clicks


def cheaper_from_scratch(matching: WindowMatching, target_pq: float) -> bool:
    """Whether refusing the proposals for one click and starting from nothing is expected to take fewer clicks, at the prior."""
    with_proposals = expected_clicks(ExpectedWindow.of(matching), target_pq, GainEstimator())
    empty = ExpectedWindow(len(matching.nuclei), 0.0, 0.0, len(matching.nuclei), [], 0.0)
    return 1 + expected_clicks(empty, target_pq, GainEstimator()) < with_proposals


def _pq(quality: float, count: float) -> float:
    return 2 * quality / count if count else 0.0

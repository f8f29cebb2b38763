"""Which windows to annotate next: uncertain ones, spread over unlike tissue, never twice the same pixels.

Power acquisition (Kirsch et al., "Stochastic Batch Acquisition", TMLR 2023): drawing without replacement with probability
proportional to uncertainty^beta equals taking the top of beta * log(uncertainty) + Gumbel noise. From that shortlist a greedy
k-centre (Sener & Savarese, ICLR 2018) takes windows far apart in feature space, so that a batch is not six views of one thing.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, median, pstdev

# beta: 1 draws in proportion to uncertainty, infinity is plain top-k.
POWER_BETA = 4.0
# Candidates the k-centre may choose from, per window asked for.
SHORTLIST_FACTOR = 4
# A window worth a person's time has at least this share of the median number of nuclei.
MIN_NUCLEI_SHARE = 0.5


@dataclass(frozen=True)
class Candidate:
    """One window of one image: pixels from the top-left corner, uncertainty >= 0, predicted nuclei, and a feature vector."""

    image_id: str
    x: int
    y: int
    width: int
    height: int
    uncertainty: float
    nuclei: int
    features: tuple[float, ...] = ()

    def overlaps(self, other: Candidate) -> bool:
        """Whether the two windows share a pixel of the same image."""
        return (
            self.image_id == other.image_id
            and self.x < other.x + other.width
            and other.x < self.x + self.width
            and self.y < other.y + other.height
            and other.y < self.y + self.height
        )


def select(
    candidates: Iterable[Candidate],
    taken: Sequence[Candidate],
    *,
    count: int,
    per_image: int,
    seed: int,
) -> list[Candidate]:
    """Choose up to `count` windows, at most `per_image` of one image, none overlapping another or one of `taken`.

    The same candidates in any order and the same seed give the same choice. Fewer come back only where the rules leave fewer.
    """
    free = [each for each in sorted(candidates, key=_position) if not any(each.overlaps(old) for old in taken)]
    ranked = _ranked_by_power_acquisition(_with_enough_nuclei(free), seed)
    distance = _FeatureDistances(ranked)
    chosen: list[Candidate] = []
    while ranked and len(chosen) < count:
        best = max(ranked[: SHORTLIST_FACTOR * count], key=lambda each: distance.to_nearest(each, chosen))
        chosen.append(best)
        image_full = Counter(each.image_id for each in chosen)[best.image_id] >= per_image
        ranked = [each for each in ranked if not (each.overlaps(best) or (image_full and each.image_id == best.image_id))]
    return chosen


def _position(candidate: Candidate) -> tuple[str, int, int]:
    return candidate.image_id, candidate.y, candidate.x


def _with_enough_nuclei(candidates: list[Candidate]) -> list[Candidate]:
    """Drop windows with few nuclei; where no window has a nucleus, keep all, so that a run goes on."""
    counts = [each.nuclei for each in candidates if each.nuclei > 0]
    if not counts:
        return candidates
    enough = MIN_NUCLEI_SHARE * median(counts)
    return [each for each in candidates if each.nuclei >= enough]


def _ranked_by_power_acquisition(candidates: list[Candidate], seed: int) -> list[Candidate]:
    """Best first by power-noised uncertainty."""
    rng = random.Random(seed)
    keyed = []
    for index, each in enumerate(candidates):
        gumbel = -math.log(-math.log(rng.uniform(1e-12, 1.0 - 1e-12)))
        uncertainty = each.uncertainty if math.isfinite(each.uncertainty) else 0.0
        keyed.append((-(POWER_BETA * math.log(max(uncertainty, 1e-12)) + gumbel), index))
    return [candidates[index] for _, index in sorted(keyed)]


class _FeatureDistances:
    """Euclidean distances between features in units of each feature's spread; all 0 where features are missing."""

    def __init__(self, candidates: Sequence[Candidate]) -> None:
        length = min((len(each.features) for each in candidates), default=0)
        columns = [[each.features[i] for each in candidates] for i in range(length)]
        columns = [column if all(map(math.isfinite, column)) else [0.0] * len(column) for column in columns]
        self._scales = [(fmean(column), pstdev(column) or 1.0) for column in columns]

    def _standard(self, candidate: Candidate) -> list[float]:
        return [(value - mean) / spread for value, (mean, spread) in zip(candidate.features, self._scales, strict=False)]

    def to_nearest(self, candidate: Candidate, chosen: Sequence[Candidate]) -> float:
        """Distance to the nearest of `chosen`; with none chosen all are alike and the best-ranked wins."""
        if not chosen:
            return 0.0
        here = self._standard(candidate)
        return min(math.dist(here, self._standard(each)) for each in chosen)

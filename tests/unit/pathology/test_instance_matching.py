from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nucleate.pathology.metrics import instance_matching
from nucleate.pathology.metrics.dice_aji_pq import contingency


def strip(*parts):
    """A map of runs: (label, length)."""
    return np.repeat([label for label, _ in parts], [length for _, length in parts])[None].repeat(4, 0)


TRUE = strip((1, 10), (0, 5), (2, 10), (0, 5), (3, 8), (4, 8), (0, 4), (5, 20), (0, 10))
OURS = strip((7, 10), (0, 5), (0, 10), (0, 5), (9, 16), (0, 4), (11, 9), (12, 9), (0, 2), (0, 3), (13, 7))


def test_each_fate_is_told_from_the_others():
    found = instance_matching.match_outcomes(contingency(TRUE, OURS))
    names = [instance_matching._NAMES[k] for k in found.true]
    assert names == ["found", "missed", "merged", "merged", "split"]
    assert found.counts() == {"found": 1, "missed": 1, "split": 1, "merged": 2, "extra": 1}


def test_the_picture_draws_every_fate_in_its_colour_and_counts_them_below():
    seen = instance_matching.outcome_overlay(
        instance_matching.grey_canvas(TRUE.shape), TRUE, OURS, instance_matching.match_outcomes(contingency(TRUE, OURS))
    )
    assert seen.shape == (4 + instance_matching._LEGEND, TRUE.shape[1], 3)
    for colour, column in zip(instance_matching._COLOURS, (9, 15, 50, 30, 73), strict=True):
        assert tuple(seen[0, column]) == colour


@given(st.integers(0, 2**32 - 1))
def test_as_many_are_found_on_either_side(seed):
    rng = np.random.default_rng(seed)
    true, ours = (np.kron(rng.integers(0, 5, (4, 5)), np.ones((3, 3), int)) for _ in range(2))
    found = instance_matching.match_outcomes(contingency(true, ours))
    assert (found.true == instance_matching.FOUND).sum() == (found.predicted == instance_matching.FOUND).sum()
    assert sum(found.counts().values()) - found.counts()["extra"] == len(np.unique(true[true > 0]))

"""The two-sample test and the distances beside it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nucleate.errors import EmptyInput, InvalidInput
from nucleate.synthesis.phantom.tissue import draw_tissue
from nucleate.synthesis.realism.assess import Picture, assess
from nucleate.synthesis.realism.distances import earth_movers
from nucleate.synthesis.realism.features import describe_crop
from nucleate.synthesis.realism.forest import grow
from nucleate.synthesis.realism.twosample import area_under_curve, test_two_samples


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(2, 40))
def test_auc_is_the_share_of_ordered_pairs(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    score, positive = rng.integers(0, 6, count).astype(np.float64), np.arange(count) % 2 == 0
    gap = score[positive][:, None] - score[~positive]
    assert area_under_curve(score, positive) == pytest.approx(((gap > 0) + 0.5 * (gap == 0)).mean())


def test_forest_learns_an_interaction_and_says_what_it_used() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(600, 6)).astype(np.float32)
    positive = rows[:, 1] * rows[:, 4] > 0
    forest = grow(rows[:400], positive[:400], 0)
    assert area_under_curve(forest.score(rows[400:]), positive[400:]) > 0.85
    assert set(np.argsort(-forest.importance)[:2]) == {1, 4}
    assert np.array_equal(forest.score(rows), grow(rows[:400], positive[:400], 0).score(rows))


def test_sources_do_not_leak_between_folds() -> None:
    """Each source has its own mean and is all real or all synthetic: a split inside of sources would score about 1."""
    rng = np.random.default_rng(2)
    group = np.repeat(np.arange(16), 15)
    rows = (rng.normal(size=(240, 5)) + 5 * rng.normal(size=(16, 5))[group]).astype(np.float32)
    made = group % 2 == 0
    assert test_two_samples(rows, made, group).auc < 0.8
    rows[made, 0] += 60
    found = test_two_samples(rows, made, group)
    assert found.auc == 1.0 == found.interval[0]
    assert np.argmax(found.importance) == 0


def test_one_source_is_refused() -> None:
    with pytest.raises(InvalidInput, match="synthetic crops of at least two source images"):
        test_two_samples(np.zeros((4, 2), np.float32), np.array([True, False, False, True]), np.array([0, 0, 1, 0]))


def test_blur_is_found_and_named() -> None:
    real = [Picture(draw_tissue(k, 192)[0], str(k)) for k in range(4)]
    soft = [Picture(np.asarray(cv2.GaussianBlur(each.rgb, (0, 0), 1.5), np.uint8), each.source) for each in real]
    done: list[int] = []
    found = assess(real, soft, 6, 0, done.append)
    assert done == list(range(1, 9))
    assert found["auc"] > 0.95
    assert found["gradient_energy_ratio"] < 0.8
    assert found["texture_distance"] > found["colour_distance"]
    with pytest.raises(EmptyInput, match="no synthetic images"):
        assess(real, [], 6, 0, done.append)


def test_flat_crops_have_finite_features() -> None:
    for level in (0, 128, 255):
        assert np.isfinite(list(describe_crop(np.full((128, 128, 3), level, np.uint8)).values())).all()


def test_earth_movers_is_the_shift() -> None:
    values = np.arange(10.0)
    assert earth_movers(values, values + 3) == pytest.approx(3)
    assert earth_movers(values, values[:0]) == float("inf")

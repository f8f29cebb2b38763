from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tests.unit.pathology import slow_metrics

from nucleate.errors import InvalidMask, SizeMismatch
from nucleate.pathology.metrics import dice_aji_pq

SHAPE = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9)
TWO_MAPS = SHAPE.flatmap(
    lambda shape: st.tuples(*(hnp.arrays(np.int32, shape, elements=st.integers(0, 5), fill=st.just(0)) for _ in range(2)))
)


def disks(rng, count, size):
    """A map of `count` disks and a copy with every disk moved a little, some lost and some invented."""
    ys, xs = np.mgrid[:size, :size]
    true, pred = np.zeros((2, size, size), dtype=np.int32)
    for label in range(1, count + 1):
        y, x, radius = [*rng.uniform(0, size, 2).tolist(), rng.uniform(3, 7)]
        true[(ys - y) ** 2 + (xs - x) ** 2 < radius**2] = label
        dy, dx, grow = rng.normal(0, 1.5, 3)
        if rng.random() < 0.9:
            pred[(ys - y - dy) ** 2 + (xs - x - dx) ** 2 < max(radius + grow, 1) ** 2] = count + 1 - label
    return true, pred


def optimal_ajips(true, pred):
    """AJI+ of every one-to-one assignment of maximal total IoU: ties between assignments leave the score open."""
    true_masks, pred_masks = slow_metrics.masks_of(true), slow_metrics.masks_of(pred)
    inter, union = slow_metrics.overlaps(true_masks, pred_masks)
    areas = [m.sum() for m in true_masks], [m.sum() for m in pred_masks]
    iou = inter / (union + slow_metrics.EPS)
    slots = [*range(len(pred_masks)), *[None] * len(true_masks)]
    totals = {}
    for choice in set(permutations(slots, len(true_masks))):
        pairs = tuple((t, p) for t, p in enumerate(choice) if p is not None and iou[t, p] > 0)
        totals[pairs] = sum(iou[pair] for pair in pairs)
    top = max(totals.values())
    return [slow_metrics.jaccard(pairs, inter, union, *areas) for pairs, total in totals.items() if total > top - 1e-9]


@settings(max_examples=300, deadline=None)
@given(TWO_MAPS)
def test_every_score_equals_its_definition(maps):
    true, pred = maps
    found = dice_aji_pq.score(true, pred).to_dict()
    if not true.any() or not pred.any():
        assert set(found.values()) == {float(true.any() == pred.any())}
        return
    expected = slow_metrics.score(true, pred)
    expected.pop("ajip")
    ajip = found.pop("ajip")
    assert found == pytest.approx(expected, abs=1e-12)
    assert 0 <= ajip <= found["dice1"]


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(*(hnp.arrays(np.int32, (4, 5), elements=st.integers(0, 3)) for _ in range(2))).filter(
        lambda maps: maps[0].any() and maps[1].any()
    )
)
def test_ajip_belongs_to_a_best_assignment(maps):
    assert min(abs(dice_aji_pq.score(*maps).ajip - value) for value in optimal_ajips(*maps)) < 1e-12


@pytest.mark.parametrize("seed", range(3))
def test_crowded_disks_equal_the_definition(seed):
    true, pred = disks(np.random.default_rng(seed), 90, 128)
    assert dice_aji_pq.score(true, pred).to_dict() == pytest.approx(slow_metrics.score(true, pred), abs=1e-12)


def test_one_prediction_over_two_nuclei():
    true = np.repeat([[1, 2]], 2, axis=0)
    scores = dice_aji_pq.score(true, np.full((2, 2), 7))
    assert (scores.aji, scores.ajip) == pytest.approx((0.5, 1 / 3))
    assert scores.pq == 0, "an IoU of exactly one half is no match"


def test_a_tie_goes_to_the_lower_label():
    true = np.array([[1, 1, 0, 0, 0, 0]])
    pred = np.array([[2, 1, 1, 0, 0, 0]])
    # IoU 1/3 with label 1 and 1/2 with label 2; then both equal.
    assert dice_aji_pq.score(true, pred).aji == pytest.approx(1 / (2 + 2))
    equal = np.array([[2, 1, 0, 0, 0, 0]])
    assert dice_aji_pq.score(true, equal).aji == pytest.approx(1 / (2 + 1))


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64])
def test_labels_are_names_only(dtype):
    true, pred = disks(np.random.default_rng(5), 30, 64)
    names = np.random.default_rng(6).permutation(np.iinfo(dtype).max - np.arange(31, dtype=dtype))
    names[0] = 0
    renamed = names[true].astype(dtype)
    expected = dice_aji_pq.score(true, pred).to_dict()
    assert dice_aji_pq.score(renamed, pred[:]).to_dict() == pytest.approx(expected, abs=1e-12)
    assert dice_aji_pq.score(np.asfortranarray(true), pred).to_dict() == expected


def test_maps_without_background():
    full = np.arange(12).reshape(3, 4) // 2 + 1
    scores = dice_aji_pq.score(full, full)
    assert scores.dice1 == scores.dice2 == scores.aji == scores.ajip == scores.dq == 1
    assert scores.sq == pytest.approx(1, abs=1e-6)


def test_empty_maps_and_their_mean():
    empty, one = np.zeros((3, 3), dtype=np.uint16), np.eye(3, dtype=np.uint8)
    both = dice_aji_pq.score(empty, empty)
    assert both.both_empty
    assert set(both.to_dict().values()) == {1.0}
    for pair in ((empty, one), (one, empty)):
        missed = dice_aji_pq.score(*pair)
        assert not missed.both_empty
        assert set(missed.to_dict().values()) == {0.0}
    assert dice_aji_pq.mean([both, dice_aji_pq.score(one, one), missed]).dice1 == 0.5
    assert dice_aji_pq.mean([both, both]).both_empty


@pytest.mark.parametrize(
    ("bad", "error", "words"),
    [
        (np.ones((3, 3)), InvalidMask, "float64"),
        (np.ones((3, 3), dtype=bool), InvalidMask, "label its objects"),
        (np.full((3, 3), -1), InvalidMask, "negative"),
        (np.ones((3, 3, 1), dtype=int), InvalidMask, "shape"),
        (np.ones((0, 3), dtype=int), InvalidMask, "shape"),
        (np.ones((3, 4), dtype=int), SizeMismatch, "same image"),
    ],
)
def test_what_is_no_instance_map_is_refused(bad, error, words):
    good = np.ones((3, 3), dtype=int)
    for pair in ((bad, good), (good, bad)):
        with pytest.raises(error, match=words):
            dice_aji_pq.score(*pair)

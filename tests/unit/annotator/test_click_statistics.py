"""Counting clicks, intervals, and what is drawn for an evaluation."""

from __future__ import annotations

import numpy as np
import pytest

from nucleate.annotator.bench.click_statistics import (
    bootstrap,
    click_statistics,
    honoured_share,
    iou_curves,
    numbers_of_clicks,
    percentiles,
    worsened_share,
)
from nucleate.annotator.bench.clicked_nucleus import NucleusRecord
from nucleate.annotator.bench.job import session_batches
from nucleate.annotator.bench.sampling import Patch, quotas, sample_nuclei, sample_windows
from nucleate.annotator.bench.summary import BenchState
from nucleate.v1 import annotator_pb2 as pb


def record(*iou: float, image: str = "a") -> NucleusRecord:
    return NucleusRecord(image, 1, 99, iou=list(iou))


def test_clicks_are_counted_to_every_target_and_failures_count_as_the_most():
    records = [record(0.5, 0.82, 0.86, 0.91), record(0.9), record(0.7, 0.84, 0.6)]
    assert numbers_of_clicks(records, 20).tolist() == [[2, 3, 4], [1, 1, 1], [2, 20, 20]]
    found = click_statistics(records, 20, seed=0)
    assert found.noc.tolist() == pytest.approx([5 / 3, 8, 25 / 3])
    assert found.failures.tolist() == [0, 1, 1]
    assert found.iou[:4].tolist() == pytest.approx([2.1 / 3, 2.56 / 3, 2.36 / 3, 2.41 / 3])
    assert found.iou[19] == found.iou[3]
    assert (found.noc_interval[:, 0] <= found.noc).all()
    assert (found.noc_interval[:, 1] >= found.noc).all()


def test_a_nucleus_that_is_done_keeps_its_last_iou():
    assert iou_curves([record(0.4, 0.95), record()], 4).tolist() == [[0.4, 0.95, 0.95, 0.95], [0, 0, 0, 0]]


def test_worsened_shares_and_percentiles():
    assert worsened_share([record(0.5, 0.4, 0.6), record(0.9)]) == 0.5
    assert worsened_share([record(0.9)]) == 0
    assert honoured_share([[1, 2, 2], [1]]) == pytest.approx(6 / 7)
    assert honoured_share([]) == 1
    assert percentiles([float(n) for n in range(101)]) == (50, 90, 99)
    assert percentiles([]) == (0, 0, 0)


def test_bootstrap_covers_the_mean_as_often_as_it_says_and_widens_with_alike_images():
    rng = np.random.default_rng(0)
    covered = []
    for seed in range(40):
        values = rng.normal(3, 1, (60, 1))
        low, high = bootstrap(values, [str(n) for n in range(60)], seed)[0]
        covered.append(low <= 3 <= high)
    assert 33 <= sum(covered) <= 40
    offsets = rng.normal(0, 2, 6).repeat(20)[:, None]
    images = [str(n // 20) for n in range(120)]
    grouped, single = (bootstrap(offsets, groups, 0)[0] for groups in (images, [str(n) for n in range(120)]))
    assert np.diff(grouped) > 2 * np.diff(single)
    assert bootstrap(offsets, images, 0).tolist() == bootstrap(offsets, images, 0).tolist()


def test_nuclei_are_spread_over_images_and_fewer_are_a_subset():
    candidates = [list(range(1, 101)), [5, 9], [], list(range(1, 51))]
    few, many = sample_nuclei(candidates, 20, 7), sample_nuclei(candidates, 60, 7)
    assert sorted(map(len, few)) == [0, 2, 9, 9]
    assert all(set(a) <= set(b) <= set(c) for a, b, c in zip(few, many, candidates, strict=True))
    assert few == sample_nuclei(candidates, 20, 7) != sample_nuclei(candidates, 20, 8)
    assert sample_nuclei(candidates, 0, 7) == candidates
    assert quotas([3, 3], 99, 0) == [3, 3]
    assert sum(quotas([3, 3, 3], 4, 0)) == 4


def test_windows_lie_in_the_image_hold_a_nucleus_and_take_every_image_once_a_turn():
    maps = [np.zeros((90, 120), np.int32) for _ in range(3)]
    for labels in maps:
        labels[40:50, 60:70] = 1
    found = sample_windows([0, 1, 2], maps.__getitem__, 64, 5, 3)
    assert [{patch.image for patch in found[:3]}, len(found)] == [{0, 1, 2}, 5]
    for patch in found:
        assert patch.crop(maps[patch.image]).shape == (64, 64)
        assert patch.crop(maps[patch.image]).any()
    assert found[:2] == sample_windows([0, 1, 2], maps.__getitem__, 64, 2, 3)
    assert sample_windows([0], maps.__getitem__, 400, 1, 3) == [Patch(0, 0, 0, 120, 90)]
    assert sample_windows([0], lambda _: np.zeros((64, 64), np.int32), 32, 4, 0) == []


def test_a_window_is_cut_without_slivers():
    labels = np.zeros((40, 40), np.int32)
    labels[10:20, 8:11] = 1
    labels[30:36, 20:26] = 2
    assert np.unique(Patch(0, 10, 0, 30, 40).crop(labels)).tolist() == [0, 1, 2]
    labels[10:11, 8:11] = 0
    assert np.unique(Patch(0, 10, 0, 30, 40).crop(labels)).tolist() == [0, 2]


def test_work_is_shared_out_in_sessions_and_goes_on_behind_what_is_done():
    drawn = [list(range(85)), [], [1, 2]]
    assert [(image, len(labels)) for image, labels in session_batches(drawn, 0)] == [(0, 40), (0, 40), (0, 5), (2, 2)]
    assert [(image, labels[0]) for image, labels in session_batches(drawn, 80)] == [(0, 80), (2, 1)]
    assert list(session_batches(drawn, 87)) == []


def test_a_checkpoint_gives_back_what_was_finished():
    finished = BenchState([record(0.4, 0.9)], [pb.PatchResult(id="a", clicks=3)], 1.5)
    assert BenchState.from_bytes(finished.to_bytes()) == finished
    assert BenchState.from_bytes(None) == BenchState()
    assert BenchState([record(0.4, 0.9), record(0.8)]).running_means(20) == pytest.approx({"iou1": 0.6, "noc80": 1.5})

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import distance_transform_edt

from nucleate import errors
from nucleate.interactive.clicks import Click, ClickEncoding, click_maps, depth
from nucleate.interactive.object_mask import ObjectMask
from nucleate.interactive.training.click_sampling import (
    BAND,
    MARGIN,
    SPACING,
    central_click,
    first_clicks,
    near_background,
    neighbour_negatives,
    positive_clicks,
    random_negatives,
    surrounding_negatives,
)
from nucleate.interactive.training.click_simulation import simulated_click


def disk(radius: float, y: int = 32, x: int = 32, size: int = 64) -> np.ndarray:
    rows, columns = np.mgrid[:size, :size]
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


def two_nuclei() -> np.ndarray:
    return np.where(disk(9, 30, 24), 1, np.where(disk(8, 34, 46), 2, 0)).astype(np.int32)


def test_click_maps_mark_border_pixels_and_keep_signs_apart():
    maps = click_maps([Click(0, 0, positive=True), Click(63, 63, positive=False), Click(-2, 70, positive=True)], 64, 64)
    assert maps.shape == (2, 64, 64)
    assert maps.dtype == np.float32
    assert maps[0, 0, 0] == 1
    assert maps[1, 63, 63] == 1
    assert maps[1, 0, 0] == 0
    assert maps[0, 63, 63] == 0
    assert 0 < maps[0, 0, 8] < 0.5  # the tail still differs between near and far over one nucleus
    assert maps[0, 0, 40] == 0


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 39), st.integers(0, 23), st.booleans()), max_size=5))
def test_distance_maps_are_truncated_distances_to_the_nearest_click(points):
    maps = click_maps([Click(x, y, positive) for x, y, positive in points], 24, 40, ClickEncoding.EUCLIDEAN)
    for found, sign in zip(maps, (True, False), strict=True):
        free = np.ones((24, 40), bool)
        for x, y, positive in points:
            free[y, x] &= positive is not sign
        distance = distance_transform_edt(free) if not free.all() else np.full(free.shape, 255.0)
        np.testing.assert_allclose(found, 1 - np.minimum(distance, 255) / 255, atol=1e-6)


def test_distances_beyond_255_px_count_as_255():
    maps = click_maps([Click(0, 0, positive=True)], 1, 400, ClickEncoding.EUCLIDEAN)
    assert maps[0, 0, 254] > 0
    assert (maps[0, 0, 255:] == 0).all()
    assert (maps[1] == 0).all()


def test_central_clicks_stay_on_the_nucleus_near_its_middle():
    ring = disk(9) & ~disk(4)
    for seed in range(30):
        rng = np.random.default_rng(seed)
        click = central_click(disk(9), rng)
        assert click.positive
        assert np.hypot(click.x - 32, click.y - 32) < 6
        on_ring = central_click(ring, rng)
        assert ring[on_ring.y, on_ring.x]


def test_the_simulated_click_goes_to_the_middle_of_the_larger_error():
    truth = disk(9)
    assert simulated_click(truth, np.zeros_like(truth)) == Click(32, 32, positive=True)
    assert simulated_click(np.zeros_like(truth), truth) == Click(32, 32, positive=False)
    assert simulated_click(truth, truth) is None
    touching_border = np.zeros((20, 20), bool)
    touching_border[:9, :9] = True
    assert simulated_click(touching_border, np.zeros((20, 20), bool)) == Click(4, 4, positive=True)


def test_the_simulated_click_never_repeats_a_pixel_():
    truth = disk(3)
    clicked: list[Click] = []
    while (click := simulated_click(truth, np.zeros_like(truth), clicked)) is not None:
        assert click not in clicked
        clicked.append(click)
    assert len(clicked) == truth.sum()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6))
def test_simulated_clicks_keep_their_margins(seed, count):
    rng = np.random.default_rng(seed)
    instances = two_nuclei()
    nucleus = instances == 1
    distance_out = distance_transform_edt(~nucleus)
    inside = positive_clicks(nucleus, count, rng)
    assert all(nucleus[c.y, c.x] and c.positive for c in inside)
    assert all(max(abs(a.x - b.x), abs(a.y - b.y)) >= SPACING for a in inside for b in inside if a is not b)
    for sample in (random_negatives, surrounding_negatives):
        for click in sample(nucleus, count, rng):
            assert not click.positive
            assert MARGIN <= distance_out[click.y, click.x] < BAND
    assert all(instances[c.y, c.x] == 2 for c in neighbour_negatives(instances, 1, count, rng))
    assert first_clicks(instances, 1, rng)[0].positive


def test_third_strategy_spreads_clicks_round_the_nucleus():
    nucleus = disk(9)
    clicks = surrounding_negatives(nucleus, 4, np.random.default_rng(3))
    angles = np.sort([np.arctan2(c.y - 32, c.x - 32) for c in clicks])
    assert len(clicks) == 4
    assert np.diff(np.append(angles, angles[0] + 2 * np.pi)).max() < np.pi
    assert near_background(nucleus)[[c.y for c in clicks], [c.x for c in clicks]].all()


def test_no_negative_click_where_there_is_no_background_near():
    everything = np.ones((16, 16), bool)
    rng = np.random.default_rng(0)
    assert random_negatives(everything, 3, rng) == []
    assert surrounding_negatives(everything, 3, rng) == []
    assert neighbour_negatives(np.ones((16, 16), np.int32), 1, 3, rng) == []


@settings(max_examples=50, deadline=None)
@given(arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))), st.integers(0, 5), st.integers(0, 5))
def test_masks_survive_cutting_and_run_lengths(mask, x, y):
    cut = ObjectMask.from_array(mask, x, y)
    height, width = cut.bits.shape
    runs = cut.runs()
    assert sum(runs) == height * width
    again = ObjectMask.from_runs(cut.x, cut.y, width, height, runs)
    assert np.array_equal(again.crop(x, y, mask.shape[1], mask.shape[0]), mask)
    assert again.area == mask.sum()
    assert again.contains(x, y) == mask[0, 0]


def test_runs_must_fill_the_box():
    with pytest.raises(errors.InvalidMask, match="add up to 7"):
        ObjectMask.from_runs(0, 0, 2, 4, [3, 4])


def test_depths_are_roots_of_whole_numbers_to_the_last_bit():
    rows, columns = np.mgrid[:41, :37]
    mask = ((rows - 20) / 17) ** 2 + ((columns - 18) / 13) ** 2 <= 1
    found = depth(mask)
    assert np.array_equal(found, np.sqrt(np.rint(found**2)))

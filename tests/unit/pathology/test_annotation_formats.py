"""Outlines become the pixels whose centres they hold; figures of a set are those of its images added up."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nucleate import errors
from nucleate.pathology.annotation_formats.polygons import Polygon, Polygons, rasterise
from nucleate.pathology.annotation_formats.reading import read, read_pair
from nucleate.pathology.metrics import bootstrap, detection, dice_aji_pq, panoptic_plus

SIDE = 24
COORDINATE = st.integers(0, 4 * SIDE).map(lambda quarter: quarter / 4)


def drawn(*rings):
    outlines = tuple(Polygon((np.array(ring, float),)) for ring in rings)
    return rasterise(Polygons(outlines), (SIDE, SIDE), "map").instances


def holds(ring, x, y):
    """Even-odd rule by a ray to the right."""
    crossings = 0
    for (x0, y0), (x1, y1) in zip(ring, [*ring[1:], ring[0]], strict=True):
        if (y0 > y) != (y1 > y) and x < x0 + (y - y0) * (x1 - x0) / (y1 - y0):
            crossings += 1
    return crossings % 2 == 1


@given(st.lists(st.tuples(COORDINATE, COORDINATE), min_size=3, max_size=7))
@example([(0.0, 24.0)] * 3)
def test_a_pixel_belongs_to_the_outline_that_holds_its_centre(ring):
    # Thirds keep the pixels' centres off the edges, where rounding would decide.
    ring = [(x + 1 / 3 / 7, y + 1 / 3 / 11) for x, y in ring]
    if min(x for x, _ in ring) >= SIDE or min(y for _, y in ring) >= SIDE:
        with pytest.raises(errors.InvalidMask, match="1 of 1 outlines lie outside"):
            drawn(ring)
        return
    expected = [[holds(ring, column + 0.5, row + 0.5) for column in range(SIDE)] for row in range(SIDE)]
    assert np.array_equal(drawn(ring) > 0, expected)


def test_outlines_that_share_an_edge_share_no_pixel_and_leave_none_out():
    left, right = [(2, 2), (9.5, 2), (12.5, 20), (2, 20)], [(9.5, 2), (20, 2), (20, 20), (12.5, 20)]
    both = drawn([(2, 2), (20, 2), (20, 20), (2, 20)])
    assert np.array_equal(drawn(left, right) > 0, both > 0)
    assert (drawn(left) > 0).sum() + (drawn(right) > 0).sum() == both.sum() == 18 * 18
    assert (drawn(left, left) == 1).sum() == (drawn(left) > 0).sum()  # overlaps go to the first


def test_hover_net_contours_come_back_as_the_nuclei_they_were_drawn_round():
    instances = np.zeros((40, 40), np.int32)
    cv2.ellipse(instances, (12, 14), (7, 4), 30, 0, 360, 1, -1)
    cv2.circle(instances, (28, 26), 6, 2, -1)
    nuclei = {}
    for label in (1, 2):
        contours, _ = cv2.findContours((instances == label).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        nuclei[str(label)] = {"contour": contours[0][:, 0].tolist(), "type": label}
    truth = cv2.imencode(".png", instances.astype(np.uint16))[1].tobytes()
    ours, true = read_pair(json.dumps({"nuc": nuclei}).encode(), truth, "slide")
    assert np.array_equal(ours.instances, true.instances)
    assert ours.types == {1: "1", 2: "2"}


def test_outlines_of_another_image_and_endless_ones_are_refused():
    far = Polygons((Polygon((np.array([(90.0, 90), (95, 90), (95, 95)]),)),))
    with pytest.raises(errors.InvalidMask, match="another image or scale"):
        rasterise(far, (SIDE, SIDE), "map")
    zigzag = np.array([(x % 7, (x % 2) * 4000.0) for x in range(20_000)])
    with pytest.raises(errors.TooLarge, match="too complex"):
        rasterise(Polygons((Polygon((zigzag,)),)), (4000, 4000), "map")
    with pytest.raises(errors.InvalidMask, match="neither GeoJSON"):
        read(b'{"a": 1}', "map")


def test_the_set_of_one_image_scores_as_the_image_does():
    rng = np.random.default_rng(0)
    true, pred = np.zeros((2, 64, 64), np.int32)
    for label in range(1, 9):
        x, y = rng.integers(8, 56, 2).tolist()
        cv2.circle(true, (x, y), 6, label, -1)
        cv2.circle(pred, (x + label % 4, y), 6, label, -1)
    counts = panoptic_plus.counts(dice_aji_pq.contingency(true, pred))
    assert panoptic_plus.quality(counts)[2] == pytest.approx(dice_aji_pq.score(true, pred).pq, abs=1e-12)
    assert panoptic_plus.quality(counts + counts)[2] == pytest.approx(panoptic_plus.quality(counts)[2], abs=1e-6)
    centres = detection.centroids(true)
    pairs = detection.pair_centroids(centres, centres[::-1] + 3.0)
    assert (pairs[1][np.argsort(pairs[0])] == np.arange(len(centres))[::-1]).all()
    assert detection.pair_centroids(centres, centres + 90.0)[0].size == 0


def test_intervals_hold_the_mean_and_narrow_with_the_number_of_images():
    rng = np.random.default_rng(0)
    widths = []
    for images in (8, 200):
        values = rng.normal(0.6, 0.1, images)
        low, high = bootstrap.interval(bootstrap.weights(images, 0) @ values[:, None] / images)[0]
        assert low < values.mean() < high
        widths.append(high - low)
    assert widths[1] < widths[0] / 2

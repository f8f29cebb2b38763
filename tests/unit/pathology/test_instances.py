from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nucleate.errors import EmptyInput, InvalidMask, SizeMismatch
from nucleate.pathology.images import overlays
from nucleate.pathology.instances import instance_map, morphometry

MAPS = hnp.array_shapes(min_dims=2, max_dims=2, max_side=8).flatmap(
    lambda size: hnp.arrays(np.int64, size, elements=st.sampled_from([0, 0, 3, 4, 900, 2**40]))
)


@settings(max_examples=100, deadline=None)
@given(MAPS)
def test_relabel_closes_gaps_and_keeps_order(labels):
    names = [name for name in np.unique(labels) if name != 0]
    expected = np.zeros(labels.shape, dtype=np.int32)
    for new, name in enumerate(names, start=1):
        expected[labels == name] = new
    found = instance_map.relabel(labels)
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, expected)


@settings(max_examples=60, deadline=None)
@given(MAPS)
def test_inner_boundary_is_where_a_neighbour_differs(labels):
    found = instance_map.inner_boundary(labels)
    for y, x in np.ndindex(labels.shape):
        near = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
        near = [labels[v, u] for v, u in near if 0 <= v < labels.shape[0] and 0 <= u < labels.shape[1]]
        assert found[y, x] == (labels[y, x] > 0 and any(other != labels[y, x] for other in near))


def test_small_nuclei_go_and_the_rest_closes_up():
    labels = np.array([[5, 5, 5, 0, 9], [7, 7, 0, 0, 0]])
    np.testing.assert_array_equal(instance_map.remove_small(labels, 2), [[1, 1, 1, 0, 0], [2, 2, 0, 0, 0]])
    assert not instance_map.remove_small(labels, 4).any()
    boxes = instance_map.bounding_boxes(labels)
    assert boxes[4] == (slice(0, 1), slice(0, 3))
    assert boxes[0] is None
    assert instance_map.areas(labels)[[5, 7, 9, 8]].tolist() == [3, 2, 1, 0]


def test_band_lies_on_both_sides_of_the_boundary():
    labels = np.zeros((21, 21), dtype=np.int32)
    labels[5:16, 5:16] = 1
    band = instance_map.boundary_band(labels, 2)
    assert band[10, 3:8].all()
    assert not band[10, [2, 8]].any()


@pytest.mark.parametrize(
    "bad", [np.zeros((2, 2)), np.zeros((2, 2), bool), np.full((2, 2), -3), np.zeros((2, 2, 2), int), [[]], 3]
)
def test_no_instance_map(bad):
    with pytest.raises(InvalidMask, match="the map of slide 4"):
        instance_map.check_instance_map(bad, "the map of slide 4")


def test_shapes_of_a_disk_and_a_tilted_bar():
    ys, xs = np.mgrid[:80, :80]
    labels = ((ys - 20) ** 2 + (xs - 22) ** 2 <= 12**2).astype(np.int32)
    along, across = (xs - 55) + (ys - 55), (xs - 55) - (ys - 55)
    labels[(np.abs(along) <= 28) & (np.abs(across) <= 7)] = 2
    labels[0, 79] = 3
    found = morphometry.measure_shapes(labels)
    assert found.areas[0] == pytest.approx(np.pi * 144, rel=0.03)
    assert found.centroids_yx[0] == pytest.approx([20, 22])
    assert found.axis_ratios == pytest.approx([1, 0.25, 1], abs=0.03)
    assert found.orientations_rad[1] == pytest.approx(np.pi / 4, abs=0.01)
    assert found.solidities[:2].min() > 0.9
    assert found.touches_border.tolist() == [False, False, True]


def test_solidity_of_a_cross_is_that_of_its_hull():
    labels = np.zeros((40, 40), dtype=np.int32)
    labels[18:22, 5:35] = labels[5:35, 18:22] = 1
    area, hull = 30 * 8 - 16, 30 * 30 - 4 * 13 * 13 / 2
    assert morphometry.measure_shapes(labels).solidities[0] == pytest.approx(area / hull, rel=0.03)


def test_contours_and_mosaic():
    rgb = np.full((20, 30, 3), 200, np.uint8)
    labels = np.zeros((20, 30), dtype=np.uint16)
    labels[5:15, 5:15], labels[5:15, 15:25] = 1, 2
    drawn = overlays.contours_over(rgb, labels, overlays.SKY)
    changed = (drawn != rgb).any(axis=2)
    np.testing.assert_array_equal(changed, instance_map.inner_boundary(labels))
    thick = (overlays.contours_over(rgb, labels, thickness=2) != rgb).any(axis=2)
    assert (thick & changed).sum() == changed.sum() < thick.sum()
    assert not thick[labels == 0].any()
    assert (rgb == 200).all()
    picture = overlays.mosaic([[rgb, drawn], [drawn[:10]], []], gap=3)
    assert picture.shape == (4 * 3 + 20 + 10, 3 * 3 + 60, 3)
    np.testing.assert_array_equal(picture[3:23, 36:66], drawn)
    with pytest.raises(EmptyInput):
        overlays.mosaic([[]])
    with pytest.raises(SizeMismatch):
        overlays.contours_over(rgb, labels[1:])

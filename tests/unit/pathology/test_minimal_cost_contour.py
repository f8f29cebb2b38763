from __future__ import annotations

import cv2
import numpy as np
import pytest
from tests.unit.interactive.nuclei import draw_nuclei

from nucleate.interactive.networks.network_input import level_to_radius, network_input, radius_to_level, rescaled_level
from nucleate.pathology.contours import minimal_cost_contour
from nucleate.pathology.contours.minimal_cost_contour import (
    ANGLES,
    RADII,
    fill,
    find_outlines,
    moved_agreement,
    shortest_closed_path,
)
from nucleate.pathology.instances.typical_radius import magnification_warning, radius_in, typical_radius
from nucleate.pathology.segmentation import classical
from nucleate.pathology.segmentation.pseudo_label_refinement import pseudo_labels, redraw
from nucleate.pathology.stains import standardised_input


def an_ellipse(half_width: float, half_height: float, x: float = 40, y: float = 40) -> np.ndarray:
    rows, columns = np.mgrid[:80, :80]
    return ((columns - x) / half_width) ** 2 + ((rows - y) / half_height) ** 2 <= 1


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return (a & b).sum() / (a | b).sum()


def filled(radii: np.ndarray, x: float, y: float) -> np.ndarray:
    left, top, mask = fill(radii, x, y)
    whole = np.zeros((80, 80), bool)
    whole[top : top + len(mask), left : left + len(mask)] = mask
    return whole


def test_an_outline_follows_a_blurred_noisy_edge_from_a_seed_off_the_centre():
    truth = an_ellipse(14, 9)
    rng = np.random.default_rng(0)
    margin = cv2.GaussianBlur(truth.astype(np.float32) - 0.5, (0, 0), 1.5) + rng.normal(0, 0.05, (80, 80)).astype(np.float32)
    seeds = np.array([[40, 40], [43, 38]], np.float32)
    found = find_outlines(margin, seeds, 11)
    assert found.radii.shape == (2, ANGLES)
    for radii, (x, y) in zip(found.radii, seeds, strict=True):
        assert overlap(filled(radii, x, y), truth) > 0.88
    assert (found.clearness > 0.7).all()
    first, second = (
        minimal_cost_contour.Outlines(found.radii[i : i + 1], found.clearness[:1], found.weakest[:1]) for i in (0, 1)
    )
    assert moved_agreement(first, seeds[:1], second, seeds[1:])[0] > 0.85
    assert find_outlines(margin, np.zeros((0, 2), np.float32), 11).radii.shape == (0, ANGLES)


def test_where_there_is_no_edge_an_outline_is_unclear():
    rng = np.random.default_rng(0)
    margin = rng.normal(0, 0.05, (80, 80)).astype(np.float32)
    flat = find_outlines(margin, np.array([[40, 40]], np.float32), 11)
    assert flat.weakest[0] < 0.1


def test_the_shortest_path_is_closed_and_no_dearer_than_any_circle():
    cost = np.random.default_rng(0).random((20, ANGLES, len(RADII)), np.float32)
    path = shortest_closed_path(cost)
    jumps = np.abs(np.diff(np.column_stack([path, path[:, 0]]), axis=1))
    assert jumps.max() <= 3
    total = np.take_along_axis(cost, path[:, :, None], 2)[:, :, 0].sum(1) + minimal_cost_contour.JUMP_WEIGHT * jumps.sum(1)
    assert (total <= cost.sum(1).min(1)).all()


def test_filling_keeps_the_area():
    assert filled(np.full(ANGLES, 10, np.float32), 40, 40).sum() == pytest.approx(np.pi * 100, rel=0.02)


def test_redrawn_labels_fit_better_than_thresholded_ones_and_nothing_comes_of_nothing():
    image, instances = draw_nuclei(192, 14, 1)
    margin = standardised_input.margin(standardised_input.planes(image))
    radius = typical_radius(margin)
    swollen = cv2.dilate(classical.segment(image).astype(np.uint8), np.ones((5, 5), np.uint8)).astype(np.int32)
    drawn, trusted = redraw(margin, radius, swollen)
    assert len(trusted) > 7
    assert set(trusted) <= set(np.unique(drawn)) - {0}
    assert overlap(np.isin(drawn, trusted), instances > 0) > overlap(swollen > 0, instances > 0)
    again, _ = redraw(margin, radius, swollen)
    assert np.array_equal(again, drawn)
    empty, none = redraw(margin, radius, np.zeros_like(instances))
    assert not empty.any()
    assert none == []


def test_pseudo_labels_leave_out_what_no_outline_covers():
    image, instances = draw_nuclei(192, 14, 1)
    labels, ignored = pseudo_labels(image)
    assert overlap(labels > 0, instances > 0) > 0.7
    assert not ignored[labels > 0].any()
    assert (ignored | (labels > 0))[classical.segment(image) > 0].all()
    blank = np.full((64, 64, 3), 255, np.uint8)
    labels, ignored = pseudo_labels(blank)
    assert labels.shape == ignored.shape == (64, 64)
    assert not labels.any()


def test_images_at_half_the_size_are_warned_about():
    half, _ = draw_nuclei(384, 40, 1)
    image = cv2.resize(half, None, fx=2, fy=2, interpolation=cv2.INTER_LINEAR)
    assert radius_in(half) == pytest.approx(radius_in(image) / 2, rel=0.2)
    assert magnification_warning([15.0, 9.0, 14.0]) == magnification_warning([]) == ""
    assert "8.0 px" in magnification_warning([8.0, 7.0, 14.0])


def test_the_size_plane_tells_the_radius_of_the_nuclei_and_follows_the_scale():
    rng = np.random.default_rng(0)
    for radius in (6, 10, 18):
        margin = np.full((400, 400), -0.6, np.float32)
        for y in range(40, 400, 64):
            for x in range(40, 400, 64):
                cv2.circle(margin, (x, y), radius, 0.9, -1)
        margin = cv2.GaussianBlur(margin, (0, 0), 1.5) + rng.normal(0, 0.05, margin.shape).astype(np.float32)
        assert typical_radius(margin) == pytest.approx(radius, rel=0.15)
        assert level_to_radius(radius_to_level(radius)) == pytest.approx(radius, rel=0.01)
        assert level_to_radius(rescaled_level(radius_to_level(radius), 1.5)) == pytest.approx(1.5 * radius, rel=0.01)
    assert typical_radius(np.full((40, 50), -1, np.float32)) == 12
    assert network_input(np.full((40, 50, 3), 255, np.uint8)).shape == (40, 50, 5)
    assert network_input(draw_nuclei(64, 3, 0)[0])[..., 4].std() == 0

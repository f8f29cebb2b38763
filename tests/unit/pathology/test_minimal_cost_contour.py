from __future__ import annotations

import cv2
import numpy as np
import pytest

from nucleate.pathology.contours import minimal_cost_contour
from nucleate.pathology.contours.minimal_cost_contour import (
    ANGLES,
    RADII,
    contour_iou,
    contour_mask,
    minimal_closed_path,
    minimal_cost_contours,
)


def an_ellipse(half_width: float, half_height: float, x: float = 40, y: float = 40) -> np.ndarray:
    rows, columns = np.mgrid[:80, :80]
    return ((columns - x) / half_width) ** 2 + ((rows - y) / half_height) ** 2 <= 1


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return (a & b).sum() / (a | b).sum()


def filled(radii: np.ndarray, x: float, y: float) -> np.ndarray:
    left, top, mask = contour_mask(radii, x, y)
    whole = np.zeros((80, 80), bool)
    whole[top : top + len(mask), left : left + len(mask)] = mask
    return whole


def test_a_contour_follows_a_blurred_noisy_edge_from_a_seed_off_the_centre():
    truth = an_ellipse(14, 9)
    rng = np.random.default_rng(0)
    margin = cv2.GaussianBlur(truth.astype(np.float32) - 0.5, (0, 0), 1.5) + rng.normal(0, 0.05, (80, 80)).astype(np.float32)
    seeds = np.array([[40, 40], [43, 38]], np.float32)
    found = minimal_cost_contours(margin, seeds, 11)
    assert found.radii.shape == (2, ANGLES)
    for radii, (x, y) in zip(found.radii, seeds, strict=True):
        assert overlap(filled(radii, x, y), truth) > 0.88
    assert (found.relative_edge > 0.7).all()
    first, second = (
        minimal_cost_contour.RadialContours(found.radii[i : i + 1], found.relative_edge[:1], found.edge_quantile[:1])
        for i in (0, 1)
    )
    assert contour_iou(first, seeds[:1], second, seeds[1:])[0] > 0.85
    assert minimal_cost_contours(margin, np.zeros((0, 2), np.float32), 11).radii.shape == (0, ANGLES)


def test_where_there_is_no_edge_a_contour_is_unclear():
    rng = np.random.default_rng(0)
    margin = rng.normal(0, 0.05, (80, 80)).astype(np.float32)
    flat = minimal_cost_contours(margin, np.array([[40, 40]], np.float32), 11)
    assert flat.edge_quantile[0] < 0.1


def test_the_shortest_path_is_closed_and_no_dearer_than_any_circle():
    cost = np.random.default_rng(0).random((20, ANGLES, len(RADII)), np.float32)
    path = minimal_closed_path(cost)
    jumps = np.abs(np.diff(np.column_stack([path, path[:, 0]]), axis=1))
    assert jumps.max() <= 3
    total = np.take_along_axis(cost, path[:, :, None], 2)[:, :, 0].sum(1) + minimal_cost_contour.JUMP_WEIGHT * jumps.sum(1)
    assert (total <= cost.sum(1).min(1)).all()


def test_filling_keeps_the_area():
    assert filled(np.full(ANGLES, 10, np.float32), 40, 40).sum() == pytest.approx(np.pi * 100, rel=0.02)

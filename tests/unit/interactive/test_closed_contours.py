from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import pytest

from nucleate.interactive.clicks import Click
from nucleate.interactive.prediction.closed_contours import INSETS, RADIUS_FACTORS, candidate_contours
from nucleate.interactive.prediction.network_contour_mean import fused_probability
from nucleate.interactive.prediction.zoom_in import Frame

NOTHING = np.zeros((96, 96), bool)


def a_disk(radius: float, x: float = 48, y: float = 48, size: int = 96) -> np.ndarray:
    rows, columns = np.mgrid[:size, :size]
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


def seen(nucleus: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What a network and an image say that both show the nucleus, but blurred."""
    blurred = cv2.GaussianBlur(nucleus.astype(np.float32), (0, 0), 1.5)
    return np.clip(blurred, 0.02, 0.98), blurred - 0.5


def close(probability, margin, typical, clicks, previous) -> np.ndarray | None:
    """Mask of the expected contour, or None where there is none."""
    found = candidate_contours(probability, margin, typical, clicks, previous)
    size = len(probability)
    covered = found[0].coverage_if_consistent(clicks, Frame(0, 0, size), Frame(0, 0, size), 1) if found else None
    return None if covered is None else covered > 0.5


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return (a & b).sum() / (a | b).sum()


def test_a_ragged_belief_becomes_a_closed_outline():
    nucleus = a_disk(12)
    probability, margin = seen(nucleus)
    probability[44:50, 36:60] = 0.1  # the network sees two halves
    mask = close(probability, margin, 13, [Click(48, 48, positive=True)], NOTHING)
    assert mask is not None
    assert overlap(mask, nucleus) > 0.85
    assert overlap(probability > 0.5, nucleus) < 0.8


def test_clicks_bound_the_outline_from_their_side():
    both = a_disk(10, 40) | a_disk(10, 56)
    probability, margin = seen(both)
    first = [Click(40, 48, positive=True)]
    for click in (Click(60, 48, positive=True), Click(56, 48, positive=False)):
        mask = close(probability, margin, 11, [*first, click], NOTHING)
        assert mask is not None
        assert mask[48, 40]
        assert mask[48, click.x] == click.positive


def test_a_click_in_the_middle_of_what_is_missing_speaks_for_all_of_it():
    probability, margin = np.full((96, 96), 0.5, np.float32), np.zeros((96, 96), np.float32)
    previous = a_disk(8)
    clicks = [Click(48, 48, positive=True), Click(62, 48, positive=True)]
    mask = close(probability, margin, 9, clicks, previous)
    assert mask is not None
    assert mask[48, 62:66].all()  # the click lies 6 px off the mask
    less = close(probability, margin, 16, [clicks[0], Click(54, 48, positive=False)], a_disk(12))
    assert less is not None
    assert not less[48, 51:56].any()


def test_without_a_place_to_start_or_within_reach_the_network_is_left_alone():
    probability, margin = seen(a_disk(12))
    assert close(probability, margin, 13, [Click(5, 5, positive=False)], NOTHING) is None
    assert close(probability, margin, 13, [Click(200, 48, positive=True)], NOTHING) is None
    large = np.zeros((160, 160), np.float32)
    assert close(large, large, 13, [Click(80, 80, positive=True)], np.zeros((160, 160), bool)) is None
    cut = close(probability, margin, 13, [Click(56, 48, positive=False)], a_disk(12))
    assert cut is not None
    assert not cut[48, 56]
    assert cut[48, 44]


@pytest.mark.parametrize("seed", range(6))
def test_an_outline_has_every_click_on_its_side_or_there_is_none(seed):
    rng = np.random.default_rng(seed)
    probability = cv2.GaussianBlur(rng.random((64, 64), np.float32), (0, 0), 3)
    margin = cv2.GaussianBlur(rng.normal(0, 1, (64, 64)).astype(np.float32), (0, 0), 2)
    pixels = rng.permutation(64 * 64)[:7]
    clicks = [Click(32, 32, positive=True)] + [Click(int(p % 64), int(p // 64), bool(rng.integers(2))) for p in pixels]
    for count in range(1, len(clicks) + 1):
        mask = close(probability, margin, 12, clicks[:count], np.zeros((64, 64), bool))
        assert mask is None or all(mask[c.y, c.x] == c.positive for c in clicks[:count])


def test_outlines_of_all_sizes_and_insets_come_the_expected_one_first():
    probability, margin = seen(a_disk(12))
    clicks = [Click(48, 48, positive=True), Click(48, 62, positive=False)]
    found = candidate_contours(probability, margin, 13, clicks, a_disk(15), all_sizes=True)
    assert len(found) == len(RADIUS_FACTORS) * len(INSETS)
    assert found[0].prior_penalty == 0
    assert (found[0].radii == candidate_contours(probability, margin, 13, clicks, a_disk(15))[0].radii).all()
    assert all(a.prior_penalty <= b.prior_penalty for a, b in pairwise(found))


def test_an_outline_comes_out_in_pixels_of_an_image_that_was_enlarged():
    probability, margin = seen(a_disk(12))
    (contour,) = candidate_contours(probability, margin, 13, [Click(48, 48, positive=True)], NOTHING)
    covered = contour.pixel_coverage(Frame(100, 60, 96), Frame(50, 30, 48), 2)
    assert covered[24, 24] == 1  # half of 148 - 50, 108 - 30
    assert 4 * covered.sum() == pytest.approx(contour.pixel_coverage(Frame(0, 0, 96), Frame(0, 0, 96), 1).sum(), rel=0.05)
    cut = contour.pixel_coverage(Frame(100, 60, 96), Frame(75, 30, 48), 2)
    assert (cut[:, :23] == covered[:, 25:]).all()


def test_outline_and_network_correct_each_other():
    contour, probability = a_disk(12).astype(np.float32), np.where(a_disk(13, 47.5), 0.9, 0.1).astype(np.float32)
    probability[46:50, 40:58] = 0.1  # a gap
    probability[48, 75:85] = 0.9  # and something far away
    mask = fused_probability(probability, contour) > 0.5
    assert mask[48, 40:57].all()
    assert not mask[48, 70:].any()
    assert mask[48 + 12, 48]  # the network is sure of a pixel that the contour just leaves out
    assert not mask[48, 61]
    assert fused_probability(probability, None) is probability

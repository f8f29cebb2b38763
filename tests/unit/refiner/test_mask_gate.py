"""The gate must refuse moved and erased nuclei and accept every change of stain."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nucleate.errors import SizeMismatch
from nucleate.pathology.stains.optical_density import od_to_rgb, rgb_to_od
from nucleate.refiner.mask_gate.gate import verify_refinement

SIDE = 256
H, E = np.array([0.65, 0.70, 0.29]), np.array([0.07, 0.99, 0.11])


def tissue(instances, seed=0):
    """Pink ground with texture, purple nuclei with soft edges and texture of their own."""
    rng = np.random.default_rng(seed)
    coarse = cv2.resize(rng.normal(0, 1, (64, 64)).astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    mask = cv2.GaussianBlur((instances > 0).astype(np.float32), (0, 0), 0.9)
    h = 0.08 + mask * (0.7 + 0.06 * coarse)
    e = 0.35 + 0.05 * coarse[::-1]
    return od_to_rgb(h[..., None] * H + e[..., None] * E)


def grid_of_nuclei(radius=8, spacing=32, dx=0):
    instances = np.zeros((SIDE, SIDE), np.int32)
    centres = [(x, y) for y in range(16, SIDE, spacing) for x in range(16, SIDE, spacing)]
    for label, (x, y) in enumerate(centres, start=1):
        cv2.ellipse(instances, (x + dx, y), (radius, radius - 2), 30 * label, 0, 360, label, -1)
    return instances


INSTANCES = grid_of_nuclei()
IMAGE = tissue(INSTANCES)


def move(rgb, dx, dy):
    return cv2.warpAffine(rgb, np.float32([[1, 0, dx], [0, 1, dy]]), (SIDE, SIDE), borderMode=cv2.BORDER_REFLECT)


def erase(rgb, labels):
    hole = np.isin(INSTANCES, labels).astype(np.uint8)
    return cv2.inpaint(rgb, cv2.dilate(hole, np.ones((7, 7))), 3, cv2.INPAINT_TELEA)


def test_no_change_is_accepted_at_zero():
    verdict = verify_refinement(IMAGE, IMAGE, INSTANCES)
    assert verdict.accepted
    assert (verdict.shift_median_px, verdict.shift_p95_px, verdict.vanished) == (0, 0, 0)
    assert verdict.measured == 64


@settings(max_examples=25, deadline=None)
@given(st.floats(0.7, 1.4), st.floats(0.7, 1.4), st.floats(0.7, 1.4), st.integers(-15, 15))
def test_changes_of_stain_are_accepted(red, green, blue, level):
    od = rgb_to_od(IMAGE) * np.float32([red, green, blue])
    stained = np.clip(od_to_rgb(od).astype(int) + level, 0, 255).astype(np.uint8)
    assert verify_refinement(IMAGE, stained, INSTANCES).accepted


@pytest.mark.parametrize("change", ["blur", "noise", "sharpen"])
def test_harmless_texture_is_accepted(change):
    rng = np.random.default_rng(3)
    changed = {
        "blur": lambda: cv2.GaussianBlur(IMAGE, (0, 0), 1.2),
        "noise": lambda: np.clip(IMAGE + rng.normal(0, 8, IMAGE.shape), 0, 255).astype(np.uint8),
        "sharpen": lambda: np.clip(2.0 * IMAGE - cv2.GaussianBlur(IMAGE, (0, 0), 2), 0, 255).astype(np.uint8),
    }[change]()
    verdict = verify_refinement(IMAGE, changed, INSTANCES)
    assert verdict.accepted, verdict.reason


@pytest.mark.parametrize(("dx", "dy"), [(2, 0), (0, -2), (2, 2), (-3, 1), (4, 0)])
def test_moved_nuclei_are_refused_with_their_distance(dx, dy):
    verdict = verify_refinement(IMAGE, move(IMAGE, dx, dy), INSTANCES)
    assert not verdict.accepted
    assert "contour shift median" in verdict.reason
    assert abs(verdict.shift_median_px - np.hypot(dx, dy)) < 0.35 * np.hypot(dx, dy)


def test_one_nucleus_in_ten_moved_by_three_pixels_is_refused():
    moved = IMAGE.copy()
    some = cv2.dilate((np.isin(INSTANCES, range(1, 65, 10))).astype(np.uint8), np.ones((9, 9))).astype(bool)
    moved[some] = move(IMAGE, 3, 0)[some]
    verdict = verify_refinement(IMAGE, moved, INSTANCES)
    assert not verdict.accepted
    assert "p95" in verdict.reason


@pytest.mark.parametrize("radius", [5, 11])
def test_shrunken_and_grown_nuclei_are_refused(radius):
    assert not verify_refinement(IMAGE, tissue(grid_of_nuclei(radius)), INSTANCES).accepted


@pytest.mark.parametrize("count", [2, 10, 64])
def test_erased_nuclei_are_refused(count):
    verdict = verify_refinement(IMAGE, erase(IMAGE, range(1, count + 1)), INSTANCES)
    assert not verdict.accepted
    assert "vanished" in verdict.reason
    assert verdict.vanished == pytest.approx(count / 64, abs=0.02)


@pytest.mark.parametrize(("count", "accepted"), [(1, True), (2, False)])
def test_invented_nuclei_are_refused(count, accepted):
    invented = INSTANCES.copy()
    for x in range(count):
        cv2.circle(invented, (32 + 64 * x, 32), 6, 65 + x, -1)
    verdict = verify_refinement(IMAGE, tissue(invented), INSTANCES)
    assert verdict.hallucinated == count / 64
    assert verdict.accepted is accepted
    assert accepted or "new dark bodies per nucleus" in verdict.reason


def test_bodies_that_were_there_before_are_not_invented():
    invented = INSTANCES.copy()
    cv2.circle(invented, (32, 32), 6, 65, -1)
    already = tissue(invented)
    assert verify_refinement(already, already, INSTANCES).hallucinated == 0


def test_without_nuclei_there_is_nothing_to_lose():
    nothing = np.zeros_like(INSTANCES)
    assert verify_refinement(IMAGE, move(IMAGE, 3, 0), nothing).accepted


def test_nuclei_that_cannot_be_seen_cannot_be_checked():
    glass = np.full_like(IMAGE, 240)
    verdict = verify_refinement(glass, IMAGE, INSTANCES)
    assert not verdict.accepted
    assert verdict.measured == 0


def test_nuclei_at_every_border_and_of_one_pixel_do_no_harm():
    instances = np.zeros_like(INSTANCES)
    for label, (y, x) in enumerate([(0, 0), (0, 255), (255, 0), (255, 255), (128, 0), (60, 60)], start=1):
        cv2.circle(instances, (x, y), 0 if label == 6 else 7, label, -1)
    instances[instances == 3] = 0  # a gap in the labels
    rgb = tissue(instances)
    assert verify_refinement(rgb, rgb, instances).accepted


def test_sizes_must_agree():
    with pytest.raises(SizeMismatch, match="sizes differ"):
        verify_refinement(IMAGE, IMAGE[:-1], INSTANCES)

"""Masks of harmonized nuclei: kept, measured anew or given up."""

from __future__ import annotations

import numpy as np
import pytest
from tests.unit.refiner.shapes import ellipse

from nucleate.errors import InvalidMask, SizeMismatch
from nucleate.refiner.singan.mask_verification import Decision, verify_masks
from nucleate.refiner.singan.windows import feathered_region

TISSUE = (222, 160, 200)
NUCLEUS = (95, 60, 140)


def scene(*nuclei):
    """An image of grainy tissue with a nucleus for each (centre, axes), and its instance map."""
    rng = np.random.default_rng(0)
    instances = np.zeros((64, 96), np.int32)
    for label, (centre, axes) in enumerate(nuclei, start=1):
        instances[ellipse(instances.shape, centre, axes)] = label
    rgb = np.where((instances > 0)[..., None], NUCLEUS, TISSUE)
    return np.clip(rgb + rng.normal(0, 4, rgb.shape), 0, 255).astype(np.uint8), instances


BIG, SMALL, OTHER = ((24, 30), (12, 9)), ((24, 30), (10, 7)), ((70, 30), (9, 11))


def test_an_unchanged_image_keeps_all_masks():
    rgb, instances = scene(BIG, OTHER)
    outcome = verify_masks(rgb, rgb, instances, [2, 1])
    assert np.array_equal(outcome.image, rgb)
    assert np.array_equal(outcome.instances, instances)
    assert outcome.instances.dtype == np.int32
    assert [(v.label, v.iou, v.decision) for v in outcome.nuclei] == [(1, 1.0, Decision.KEPT), (2, 1.0, Decision.KEPT)]


def test_a_change_of_colour_alone_keeps_the_mask():
    rgb, instances = scene(BIG, OTHER)
    after = np.clip(rgb.astype(float) * (1.05, 0.92, 0.95), 0, 255).astype(np.uint8)
    outcome = verify_masks(rgb, after, instances, [1, 2])
    assert all(v.decision is Decision.KEPT and v.iou > 0.95 for v in outcome.nuclei)
    assert np.array_equal(outcome.image, after)


def test_a_pale_half_that_was_never_above_the_level_stays_in_the_mask():
    rgb, instances = scene(BIG, OTHER)
    pale = (instances == 1) & (np.arange(96) > 28)
    rgb[pale] = (205, 145, 190)
    after = np.clip(rgb.astype(float) * (1.02, 0.96, 0.98), 0, 255).astype(np.uint8)
    outcome = verify_masks(rgb, after, instances, [1])
    assert outcome.nuclei[0].decision is Decision.KEPT
    assert np.array_equal(outcome.instances, instances)


def test_an_eroded_nucleus_gets_a_smaller_mask():
    before, instances = scene(BIG, OTHER)
    after, smaller = scene(SMALL, OTHER)
    outcome = verify_masks(before, after, instances, [1, 2])
    eroded, other = outcome.nuclei
    assert eroded.decision is Decision.REESTIMATED
    true, found = smaller == 1, outcome.instances == 1
    assert found.sum() < (instances == 1).sum()
    assert (true & found).sum() / (true | found).sum() > 0.9
    assert eroded.iou == pytest.approx((found & (instances == 1)).sum() / (found | (instances == 1)).sum())
    assert other.decision is Decision.KEPT
    assert np.array_equal(outcome.image, after)


def test_a_grown_nucleus_gets_a_larger_mask_but_not_its_neighbours_pixels():
    close = ((24, 45), (9, 7))  # touches SMALL from below, so that BIG would lie under it
    before, instances = scene(SMALL, close)
    after, _ = scene(BIG)
    before[instances == 2] = TISSUE  # so pale that the grown one's stain is all there is to see
    outcome = verify_masks(before, after, instances, [1])
    (verdict,) = outcome.nuclei
    assert verdict.decision is Decision.REESTIMATED
    assert np.array_equal(outcome.instances == 2, instances == 2)
    true = ellipse(instances.shape, *BIG) & (instances != 2)
    found = outcome.instances == 1
    assert (true & found).sum() / (true | found).sum() > 0.9


def test_an_erased_nucleus_is_rejected_and_comes_back():
    before, instances = scene(BIG, OTHER)
    after, _ = scene(((24, 30), (0, 0)), OTHER)
    outcome = verify_masks(before, after, instances, [1, 2])
    assert [v.decision for v in outcome.nuclei] == [Decision.REJECTED, Decision.KEPT]
    assert outcome.nuclei[0].reason == "no contrast to the surroundings"
    assert np.array_equal(outcome.instances, instances)
    assert np.array_equal(outcome.image[instances == 1], before[instances == 1])
    far = feathered_region(instances == 1, 0, 2) == 0
    assert np.array_equal(outcome.image[far], after[far])


def test_a_moved_or_shrunken_nucleus_is_rejected():
    before, instances = scene(BIG)
    for changed in (((36, 30), (12, 9)), ((24, 30), (6, 5))):
        after, _ = scene(changed)
        outcome = verify_masks(before, after, instances, [1])
        assert outcome.nuclei[0].decision is Decision.REJECTED
        assert np.array_equal(outcome.image[instances == 1], before[instances == 1])
        assert np.array_equal(outcome.instances, instances)


def test_a_nucleus_that_runs_into_its_surroundings_is_rejected():
    before, instances = scene(BIG)
    for axes, reason in (((17, 14), "ran into its surroundings"), ((21, 18), "no contrast to the surroundings")):
        after, _ = scene(((24, 30), axes))
        (verdict,) = verify_masks(before, after, instances, [1]).nuclei
        assert (verdict.decision, verdict.reason) == (Decision.REJECTED, reason)


def test_a_nucleus_hollowed_to_a_ring_is_rejected():
    before, instances = scene(BIG)
    after = before.copy()
    after[ellipse(instances.shape, (24, 30), (9, 6))] = TISSUE
    (verdict,) = verify_masks(before, after, instances, [1]).nuclei
    assert (verdict.decision, verdict.reason) == (Decision.REJECTED, "hollow")


def test_a_rejected_nucleus_does_not_bring_back_what_a_neighbour_lost():
    """Two touching nuclei: the left one is erased, the right one eroded on the side of the left."""
    left, right = ((30, 30), (12, 9)), ((55, 30), (12, 9))
    before, instances = scene(left, right)
    after, _ = scene(((1, 1), (0, 0)), ((57, 30), (10, 8)))
    outcome = verify_masks(before, after, instances, [1, 2])
    assert [v.decision for v in outcome.nuclei] == [Decision.REJECTED, Decision.REESTIMATED]
    lost = (instances == 2) & (outcome.instances == 0)
    assert lost.any()
    assert np.array_equal(outcome.image[lost], after[lost])


def test_mask_checks_refuse_what_does_not_fit():
    rgb, instances = scene(BIG)
    with pytest.raises(SizeMismatch):
        verify_masks(rgb, rgb[1:], instances, [1])
    for label in (0, 2):
        with pytest.raises(InvalidMask, match=f"nucleus {label} does not occur"):
            verify_masks(rgb, rgb, instances, [label])

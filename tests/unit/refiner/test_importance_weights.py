"""Importance weights: calibrated, bounded, and off where they would mean nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nucleate.refiner.networks import build_pair
from nucleate.refiner.training.importance_weights import (
    MAX_WEIGHT,
    MIN_WEIGHT,
    Calibration,
    calibrate,
    image_logit,
    importance_weights,
)


@pytest.mark.parametrize(("slope", "offset"), [(1.0, 0.0), (3.0, -1.0), (0.2, 0.4)])
def test_calibration_finds_the_true_probability(slope, offset):
    rng = np.random.default_rng(0)
    # Of these two normal distributions the log ratio is slope * z + offset exactly.
    gap = 1.0
    sigma = np.sqrt(gap / slope)
    middle = -offset / slope
    fake, real = (rng.normal(middle + sign * gap / 2, sigma, 40_000) for sign in (1, -1))
    found = calibrate(fake, real)
    assert found.slope == pytest.approx(slope, rel=0.06, abs=0.02)
    assert found.offset == pytest.approx(offset, abs=0.08)
    assert 0.5 < found.accuracy < 1


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-50, 50), min_size=1, max_size=40), st.floats(0.01, 5), st.floats(-3, 3))
def test_weights_have_mean_one_or_are_off(logits, slope, offset):
    weights = importance_weights(np.array(logits), Calibration(slope, offset, 0.8))
    assert weights.values.mean() == pytest.approx(1)
    assert weights.values.max() <= MAX_WEIGHT / MIN_WEIGHT * weights.values.min() * (1 + 1e-9)
    assert bool(weights.off) == (weights.effective == 0)
    order = np.argsort(logits)
    assert (np.diff(weights.values[order]) <= 1e-12).all()  # the more synthetic, the less


def test_weights_are_c_exp_minus_z():
    weights = importance_weights(np.array([-0.3, 0.0, 0.5]), Calibration(1.0, 0.0, 0.7))
    assert np.allclose(weights.values / weights.values[1], np.exp([0.3, 0.0, -0.5]))
    assert 2.5 < weights.effective < 3


@pytest.mark.parametrize(
    ("calibration", "why"),
    [(None, "not calibrated"), (Calibration(4.0, 0.0, 0.97), "97% of held-out crops apart")],
)
def test_meaningless_weights_are_off_and_say_why(calibration, why):
    weights = importance_weights(np.array([3.0, -3.0]), calibration)
    assert (weights.values == 1).all()
    assert why in weights.off


def test_separable_crops_do_not_diverge():
    found = calibrate(np.full(20, 5.0), np.full(20, -5.0))
    assert np.isfinite([found.slope, found.offset]).all()
    assert found.accuracy == 1


@pytest.mark.parametrize("shape", [(9, 9), (64, 200), (700, 530)])
def test_images_of_any_size_have_a_logit(shape):
    _, discriminator = build_pair(8, 1, 0.3, 8, 0)
    rgb = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    discriminator.eval()
    whole = image_logit(discriminator, rgb, tile=4096)
    assert np.isfinite(whole)
    assert image_logit(discriminator, rgb, tile=512) == pytest.approx(whole, abs=2e-2)
    assert torch.is_inference_mode_enabled() is False

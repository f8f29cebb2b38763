from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nucleate.errors import InvalidImage
from nucleate.pathology.stains import optical_density, tissue
from nucleate.pathology.stains.stain_jitter import jitter_stain, perturb_stains

IMAGES = hnp.arrays(np.uint8, st.tuples(st.integers(1, 6), st.integers(1, 6), st.just(3)))


def stained(haematoxylin, eosin, size=40):
    od = np.float32(haematoxylin) * optical_density.HED[0] + np.float32(eosin) * optical_density.HED[1]
    return optical_density.od_to_rgb(np.broadcast_to(od, (size, size, 3)))


@settings(max_examples=50, deadline=None)
@given(IMAGES)
def test_od_is_finite_and_inverts(rgb):
    od = optical_density.rgb_to_od(rgb)
    assert od.dtype == np.float32
    assert od.shape == rgb.shape
    assert np.isfinite(od).all()
    np.testing.assert_array_equal(optical_density.od_to_rgb(od), np.maximum(rgb, 1))
    for plane in optical_density.separate_stains(rgb):
        assert plane.dtype == np.float32
        assert np.isfinite(plane).all()
        assert (plane >= 0).all()


@pytest.mark.parametrize(("haematoxylin", "eosin"), [(0.0, 0.0), (0.9, 0.0), (0.0, 0.7), (0.6, 0.4)])
def test_concentrations_are_recovered(haematoxylin, eosin):
    found = [float(plane.mean()) for plane in optical_density.separate_stains(stained(haematoxylin, eosin))]
    assert found == pytest.approx([haematoxylin, eosin], abs=0.02)


def test_tissue_is_neither_glass_nor_ink():
    assert tissue.tissue_mask(stained(0.5, 0.3)).all()
    noise = np.random.default_rng(0).integers(241, 246, (40, 40, 3), dtype=np.uint8)
    for blank in (
        np.full((40, 40, 3), 255, np.uint8),
        np.zeros((40, 40, 3), np.uint8),
        np.full((40, 40, 3), 90, np.uint8),
        noise,
    ):
        assert not tissue.tissue_mask(blank).any()
        with pytest.raises(InvalidImage, match=r"^white\.png has no stained tissue"):
            tissue.require_tissue(blank, "white.png")
    tissue.require_tissue(stained(0.5, 0.3), "tissue.png")


@settings(max_examples=30, deadline=None)
@given(IMAGES)
def test_restaining_with_nothing_changed_changes_nothing(rgb):
    same = perturb_stains(rgb, np.ones(3), np.zeros(3))
    assert np.abs(same.astype(int) - np.maximum(rgb, 1)).max() <= 1


def test_restaining_scales_and_shifts_one_stain():
    found = optical_density.separate_stains(
        perturb_stains(stained(0.5, 0.4), np.array([1.4, 1.0, 1.0]), np.array([0.0, 0.05, 0.0]))
    )
    assert [float(plane.mean()) for plane in found] == pytest.approx([0.7, 0.45], abs=0.02)


def test_jitter_is_seeded_and_keeps_glass():
    rgb = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    first, again, other = (jitter_stain(rgb, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    glass = np.full((32, 32, 3), 255, np.uint8)
    np.testing.assert_array_equal(jitter_stain(glass, np.random.default_rng(3)), glass)

"""Stain variation sampled from the pool."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nucleate.pathology.stains import macenko_stains
from nucleate.pathology.stains.optical_density import od_to_rgb
from nucleate.pathology.stains.stain_vectors import Stains
from nucleate.pathology.stains.tissue import tissue_mask
from nucleate.synthesis.generation.stain_variation import ImageStains, vary_stains
from nucleate.synthesis.phantom.tissue import draw_tissue


def stains_of(rgb: np.ndarray) -> Stains:
    found = macenko_stains.measure(rgb[tissue_mask(rgb)])
    assert found is not None
    return found


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    return [draw_tissue(seed, 256)[0] for seed in (2, 9)]


def test_stains_move_towards_the_partner(images: list[np.ndarray]) -> None:
    """On the way by `share`, and never past it."""
    own, other = (stains_of(rgb) for rgb in images)
    far = np.abs(own.to_array() - other.to_array()).sum()
    assert far > 0.2
    shares = []
    for seed in range(6):
        moved, record = vary_stains(images[0], own, [ImageStains("other", other)], 1.0, np.random.default_rng(seed))
        assert record is not None
        assert record["partner"] == "other"
        shares.append((record["share"], np.abs(stains_of(moved).to_array() - own.to_array()).sum() / far))
    assert np.corrcoef(np.array(shares).T)[0, 1] > 0.9
    assert all(abs(share - way) < 0.3 for share, way in shares)


def test_a_partner_of_the_same_stains_changes_nothing(images: list[np.ndarray]) -> None:
    own = stains_of(images[0])
    same, record = vary_stains(images[0], own, [ImageStains("itself", own)], 1.0, np.random.default_rng(0))
    assert record is not None
    assert np.abs(same.astype(int) - images[0]).max() <= 1


@given(seed=st.integers(0, 2**32 - 1))
def test_what_neither_stain_explains_stays(seed: int) -> None:
    """Density across the plane of both stains is the image's grain: it is neither amplified nor lost."""
    rng = np.random.default_rng(seed)
    vectors = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11]])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    across = np.cross(*vectors)
    across /= np.linalg.norm(across)
    own, other = Stains(vectors, np.array([1.0, 1.0])), Stains(vectors, np.array([1.4, 0.6]))
    density = 0.4 + 0.05 * rng.standard_normal((8, 8, 1)) * across + np.zeros((8, 8, 3))
    image = od_to_rgb(density)
    moved, record = vary_stains(image, own, [ImageStains("other", other)], 1.0, rng)
    assert record is not None
    before, after = (-np.log(np.maximum(rgb, 1) / 255.0) @ across for rgb in (image, moved))
    assert np.abs(before - after).max() < 0.012  # half a grey level, twice


def test_nothing_to_draw_from_is_no_change(images: list[np.ndarray]) -> None:
    own, rng = stains_of(images[0]), np.random.default_rng(0)
    for given_own, pool, chance in (
        (None, [ImageStains("a", own)], 1.0),
        (own, [ImageStains("a", None)], 1.0),
        (own, [], 1.0),
        (own, [ImageStains("a", own)], 0.0),
    ):
        kept, record = vary_stains(images[0], given_own, pool, chance, rng)
        assert record is None
        assert kept is images[0]

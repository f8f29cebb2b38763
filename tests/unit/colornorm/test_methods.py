"""The classical methods: what they take over, what they leave alone, and odd images of every kind."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.colornorm.tissue import tissue

from nucleate.colornorm.methods import macenko, vahadane
from nucleate.colornorm.methods.density_matrix import apply_density_matrix, by_strips, density_table
from nucleate.colornorm.methods.registry import METHODS, ONE_STAIN, Fitted, measure_slide, method_named, normalize
from nucleate.colornorm.methods.tissue_weights import darkest_channel, sample_tissue
from nucleate.errors import InvalidImage, InvalidInput
from nucleate.pathology.stains.optical_density import HED
from nucleate.pathology.stains.stain_vectors import Stains, haematoxylin_first, stain_transfer_matrix

ALL = sorted(METHODS)
STAINED = [name for name in ALL if name != "reinhard"]
TARGET = tissue(1, haematoxylin=np.array([0.55, 0.76, 0.35]), eosin=np.array([0.15, 0.95, 0.28]), strength=(1.3, 0.8))


def fitted(name):
    return Fitted.to(method_named(name), TARGET)


@pytest.mark.parametrize("name", ALL)
def test_the_result_measures_as_the_target_does(name):
    """Medians of the measurements' differences, in units of how far apart source and target were."""
    by = fitted(name)
    source = tissue(2)
    before, after = (
        by.method.measure(sample_tissue(source).sample),
        by.method.measure(sample_tissue(normalize(by, source).image).sample),
    )
    assert np.abs(after - by.target).mean() < 0.25 * np.abs(before - by.target).mean()


@pytest.mark.parametrize("name", ALL)
def test_the_target_stays_as_it_is(name):
    change = normalize(fitted(name), TARGET).image.astype(int) - TARGET
    assert np.abs(change).mean() < 3.5


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("glass", [255, 243, 225, 190])
def test_glass_of_any_brightness_stays_as_it_is(name, glass):
    source = tissue(3, glass=glass)
    after = normalize(fitted(name), source).image
    assert np.array_equal(after[:, -40:], source[:, -40:])
    assert not np.array_equal(after[:, :60], source[:, :60])


def odd_images():
    """Flat, noisy, tiny, one-coloured, saturated: anything eight bits can hold."""
    return st.tuples(
        st.tuples(*[st.integers(0, 255)] * 3), st.integers(0, 40), st.integers(1, 60), st.integers(1, 60), st.integers(0, 99)
    ).map(lambda drawn: drawing(*drawn))


def drawing(colour, noise, height, width, seed):
    return np.clip(np.random.default_rng(seed).normal(colour, noise, (height, width, 3)), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=60, deadline=None)
@given(rgb=odd_images())
def test_no_image_breaks_it_and_what_cannot_be_normalized_is_passed_through(name, rgb):
    result = normalize(fitted(name), rgb)
    assert result.image.shape == rgb.shape
    assert result.image.dtype == np.uint8
    assert result.status in {"normalized", "low_tissue", "grey", ONE_STAIN}
    if result.status != "normalized":
        assert np.array_equal(result.image, rgb)
    elif rgb.max() > 30:
        assert result.image.max() > 0


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize(
    ("rgb", "status"),
    [
        (np.full((40, 40, 3), 255, np.uint8), "low_tissue"),
        (np.random.default_rng(0).integers(239, 248, (40, 40, 3), dtype=np.uint8), "low_tissue"),
        (np.zeros((40, 40, 3), np.uint8), "grey"),
        (np.full((40, 40, 3), 128, np.uint8), "grey"),
        (np.full((1, 1, 3), 255, np.uint8), "low_tissue"),
    ],
    ids=["white", "noisy white", "black", "grey", "one pixel"],
)
def test_images_without_stain_are_named(name, rgb, status):
    result = normalize(fitted(name), rgb)
    assert result.status == status
    assert result.image is rgb


@pytest.mark.parametrize("name", STAINED)
def test_one_stain_alone_is_passed_through(name):
    flat = np.tile(np.uint8([230, 150, 190]), (40, 40, 1))
    assert normalize(fitted(name), flat).status == ONE_STAIN
    with pytest.raises(InvalidImage, match=r"the target has no stain to take over .*one stain only"):
        Fitted.to(METHODS[name], flat)


def test_reinhard_moves_a_flat_colour_and_does_not_stretch_it():
    flat = np.tile(np.uint8([230, 150, 190]), (40, 40, 1))
    after = normalize(fitted("reinhard"), flat).image
    assert after.std(axis=(0, 1)).max() == 0


@pytest.mark.parametrize("module", [macenko, vahadane])
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), strength=st.floats(0.6, 1.6))
def test_the_stains_are_found_in_order_with_positive_signs(module, seed, strength):
    found = module.measure(sample_tissue(tissue(seed, strength=(strength, 1.0))).sample)
    assert found is not None
    assert found.vectors[0, 0] > found.vectors[1, 0]
    for ours, true in zip(found.vectors, HED[:2], strict=True):
        assert np.degrees(np.arccos(ours @ true)) < 16
    assert (found.vectors @ np.ones(3) > 0).all()


@given(
    st.lists(st.floats(0.05, 1, exclude_min=True), min_size=6, max_size=6),
    st.lists(st.sampled_from((-1, 1)), min_size=6, max_size=6),
)
def test_neither_order_nor_sign_of_two_vectors_matters(sizes, signs):
    first, second = np.reshape(np.multiply(sizes, signs), (2, 3))
    for other in (haematoxylin_first(second, first), haematoxylin_first(-first, second), haematoxylin_first(second, -first)):
        if min(abs(first.sum()), abs(second.sum())) > 1e-9 and abs(abs(first[0]) - abs(second[0])) > 1e-3:
            assert np.allclose(other, haematoxylin_first(first, second))


def test_the_change_of_stains_is_the_one_of_concentrations():
    own, other = Stains(HED[:2], np.array([1.0, 2.0])), Stains(haematoxylin_first(HED[1], HED[2]), np.array([2.0, 1.0]))
    amounts = np.random.default_rng(0).random((20, 2))
    expected = (amounts * (other.max_concentrations / own.max_concentrations)) @ other.vectors
    assert np.allclose(amounts @ own.vectors @ stain_transfer_matrix(own, other).T, expected)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.floats(0, 0.3))
def test_sparse_codes_are_the_best_non_negative_ones(seed, sparsity):
    rng = np.random.default_rng(seed)
    vectors = haematoxylin_first(rng.random(3) + 0.05, rng.random(3) + 0.05)
    density = rng.random((6, 3))

    def cost(codes):
        return 0.5 * np.square(density[:, None] - codes @ vectors).sum(-1) + sparsity * codes.sum(-1)

    found = vahadane.sparse_codes(density, vectors, sparsity)
    steps = np.linspace(0, 2.5, 60)
    grid = np.stack(np.meshgrid(steps, steps), -1).reshape(1, -1, 2)
    assert (found >= 0).all()
    if vectors[0] @ vectors[1] < 0.995:
        assert (cost(found[:, None])[:, 0] <= cost(grid).min(1) + 1e-9).all()


def test_vahadane_does_not_depend_on_which_pixels_it_sees():
    pixels = tissue(4, 256)[:, :160].reshape(-1, 3)
    results = []
    for seed in range(10):
        sample = np.random.default_rng(seed).permutation(pixels)[:15_000]
        by = Fitted.to(METHODS["vahadane"], TARGET)
        own = by.method.measure(sample)
        results.append(by.apply(tissue(4, 256), sample_tissue(tissue(4, 256)), own).astype(int))
    assert max(np.abs(result - results[0]).mean() for result in results[1:]) < 1


def test_the_matrix_acts_on_densities_and_identity_changes_nothing():
    rgb = tissue(5)
    table = density_table(240.0, 1.0)
    same = apply_density_matrix(rgb, np.eye(3), table, 240.0)
    assert np.abs(same.astype(int) - rgb).max() <= 1
    twice = apply_density_matrix(rgb, 2 * np.eye(3), table, 240.0)
    expected = np.minimum(240.0 * np.exp(-2 * table[rgb]), 255)
    dark = rgb.min(axis=2) < 240
    assert np.abs(twice.astype(float) - expected)[dark].max() <= 0.51


def test_strips_cover_any_size():
    rgb = np.random.default_rng(0).integers(0, 256, (301, 997, 3), dtype=np.uint8)
    assert np.array_equal(by_strips(rgb, lambda strip: 255 - strip), 255 - rgb)


def test_a_slide_is_measured_in_the_median_of_its_tissue():
    by = fitted("macenko")
    tiles = [tissue(seed) for seed in range(3)] + [np.full((64, 64, 3), 250, np.uint8)]
    each = np.stack([by.method.measure(sample_tissue(tile).sample) for tile in tiles[:3]])
    assert np.allclose(measure_slide(by, tiles), np.median(each, axis=0))
    assert measure_slide(by, tiles[3:]) is None


def test_unknown_methods_are_named():
    with pytest.raises(InvalidInput, match="unknown method 'x': choose one of reinhard, macenko, vahadane, khan"):
        method_named("x")


def test_darkest_channel():
    assert darkest_channel(np.uint8([[[9, 4, 7]]]))[0, 0] == 4

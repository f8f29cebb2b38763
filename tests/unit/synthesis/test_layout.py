from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from nucleate.synthesis.generation.layout import MIN_AREA, Canvas, LayoutModel, rasterise_contour, sample_layout
from nucleate.synthesis.nuclear_contours import ORDERS, POINTS, enclosed_area, fourier_contour, polygon_contour, radial_power

SIZE = 96


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), area=st.floats(20, 2000), ratio=st.floats(0.25, 1), angle=st.floats(-4, 4))
def test_outline_meets_area(seed: int, area: float, ratio: float, angle: float) -> None:
    points = polygon_contour(np.random.default_rng(seed), area, ratio, angle, 0.1)
    assert points.shape == (POINTS, 2)
    assert np.isclose(enclosed_area(*points.astype(np.float64).T), area, rtol=1e-4)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), area=st.floats(20, 2000), ratio=st.floats(0.25, 1), angle=st.floats(-4, 4))
def test_fourier_outlines_meet_the_area(seed: int, area: float, ratio: float, angle: float) -> None:
    points = fourier_contour(np.random.default_rng(seed), area, ratio, angle, np.full(len(ORDERS), 1e-3))
    assert np.isclose(enclosed_area(*points.astype(np.float64).T), area, rtol=1e-4)


def test_fourier_outlines_are_as_irregular_as_was_measured() -> None:
    rng = np.random.default_rng(0)
    wanted = np.array([3e-3, 1e-3, 5e-4, 3e-4, 2e-4, 1e-4])
    found = np.mean([radial_power(fourier_contour(rng, 300.0, 0.6, 0.8, wanted), 0.6, 0.8) for _ in range(3000)], axis=0)
    assert np.allclose(found, wanted, rtol=0.15, atol=1e-5)
    ellipse = radial_power(fourier_contour(rng, 300.0, 0.6, 0.8, np.zeros(len(ORDERS))), 0.6, 0.8)
    assert ellipse.max() < 1e-6


def test_raster_area_is_unbiased() -> None:
    rng = np.random.default_rng(0)
    areas = []
    for _ in range(200):
        drawn = rasterise_contour(polygon_contour(rng, 300.0, 0.7, 1.0, 0.1) + rng.uniform(40, 50, 2).astype(np.float32), SIZE)
        assert drawn is not None
        areas.append(drawn[1].sum())
    assert abs(np.mean(areas) - 300) < 6


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), limit=st.sampled_from([0.0, 0.05, 0.2]))
def test_no_two_nuclei_share_more_than_the_limit(seed: int, limit: float) -> None:
    """Intersection of the full rasters over the smaller area, for every pair, on a canvas far too small for all."""
    rng = np.random.default_rng(seed)
    canvas, kept, dropped = Canvas(SIZE, limit), [], 0
    for _ in range(60):
        area = float(rng.uniform(20, 500))
        points = polygon_contour(rng, area, 0.7, float(rng.uniform(0, 3)), 0.15) + rng.uniform(-5, SIZE + 5, 2).astype(
            np.float32
        )
        if not canvas.place(points):
            dropped += 1
            continue
        drawn = rasterise_contour(points, SIZE)
        assert drawn is not None
        full = np.zeros((SIZE, SIZE), dtype=bool)
        full[drawn[0]] = drawn[1]
        kept.append(full)
    assert dropped > 0
    for i, one in enumerate(kept):
        assert one.sum() >= MIN_AREA
        assert (canvas.instances == i + 1).sum() >= (1 - limit) * one.sum()
        for other in kept[:i]:
            assert (one & other).sum() <= limit * min(one.sum(), other.sum())


def layout(size: int, expected: float) -> LayoutModel:
    return LayoutModel(
        centre_intensity=np.ones((size, size), dtype=np.float32),
        nearest=np.zeros((size, size), dtype=np.int32),
        areas=np.array([120, 300], dtype=np.float32),
        axis_ratios=np.array([0.9, 0.6], dtype=np.float32),
        angles=np.zeros(2, dtype=np.float32),
        similar=np.array([[0, 1], [1, 0]], dtype=np.int32),
        expected=expected,
        touching=0.5,
    )


def test_scatter_counts_what_it_drops() -> None:
    drawn = sample_layout(np.random.default_rng(1), layout(SIZE, 300), max_overlap=0.05, roughness=0.1, tries=2)
    assert len(drawn.nuclei) < drawn.requested
    assert drawn.instances.dtype == np.int32
    assert np.array_equal(np.unique(drawn.instances), np.arange(len(drawn.nuclei) + 1))
    assert [nucleus.label for nucleus in drawn.nuclei] == list(range(1, len(drawn.nuclei) + 1))


def test_scatter_without_room_is_empty() -> None:
    nowhere = layout(SIZE, 50)
    nowhere.centre_intensity[:] = 0
    drawn = sample_layout(np.random.default_rng(1), nowhere, max_overlap=0.05, roughness=0.1, tries=2)
    assert drawn.nuclei == ()
    assert not drawn.instances.any()

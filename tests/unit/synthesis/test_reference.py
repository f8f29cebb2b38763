"""Taking a reference apart: regions, background, material, statistics."""

from __future__ import annotations

import dataclasses
import json

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nucleate.errors import InvalidImage
from nucleate.pathology.segmentation.classical import segment
from nucleate.pathology.stains.optical_density import HED, od_to_rgb, rgb_to_od, separate_stains
from nucleate.synthesis.analysis import nuclei_detection
from nucleate.synthesis.analysis.background import inpaint
from nucleate.synthesis.analysis.inpainting import inpaint_detail, push_pull
from nucleate.synthesis.analysis.nuclear_texture import eosin_texture, nuclear_texture
from nucleate.synthesis.analysis.nuclei_detection import DetectedNuclei, detect_nuclei
from nucleate.synthesis.analysis.otsu_regions import haematoxylin_thresholds, sub_segmentation, super_segmentation
from nucleate.synthesis.analysis.reference import Reference, analyse_reference
from nucleate.synthesis.analysis.statistics import clark_evans, density_map, reference_statistics
from nucleate.synthesis.phantom.tissue import draw_tissue
from nucleate.synthesis.profiles import profile_named

Image = NDArray[np.uint8]


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_super_contains_and_sub_is_contained(seed: int) -> None:
    rgb, _ = draw_tissue(seed, 128)
    instances, stain = segment(rgb), haematoxylin_thresholds(rgb)
    outer = super_segmentation(stain, instances)
    nuclear = instances > 0
    assert outer[nuclear].all()
    assert outer[stain.density > stain.otsu].all()
    keep = np.ones(instances.max() + 1, dtype=bool)
    inner = sub_segmentation(instances, keep, 2)
    assert nuclear[inner].all()
    assert not cv2.dilate(inner.astype(np.uint8), np.ones((3, 3), np.uint8))[~nuclear].any()
    keep[1:] = False
    assert not sub_segmentation(instances, keep, 2).any()


def test_outlines_are_models_where_thresholds_have_fragments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every other nucleus is pale with a dark rim; thresholds that see of those a nucleolus only leave them to outlines."""
    middles = [(k % 5 * 48 + 30, k // 5 * 48 + 30) for k in range(20)]
    rgb, seen = rimmed_nuclei(middles)
    monkeypatch.setattr(nuclei_detection, "segment", lambda rgb: seen.copy())
    density = haematoxylin_thresholds(rgb).density
    dark, mixed = (detect_nuclei(rgb, density, models) for models in ("thresholds", "mixed"))  # type: ignore[arg-type]
    assert [is_model(dark, *middle) for middle in middles] == [True, False] * 10
    assert [is_model(mixed, *middle) for middle in middles].count(True) >= 18
    assert mixed.instances.max() == len(mixed.nuclei) == len(mixed.well_formed) > mixed.thresholded >= 10
    assert np.array_equal(mixed.instances[seen % 2 == 1] > 0, seen[seen % 2 == 1] > 0)
    assert (mixed.instances[seen > 0] > 0).all()
    core = mixed.sub_segmentation()
    assert (mixed.instances[core] > 0).all()
    assert core.sum() > 1.5 * dark.sub_segmentation().sum()


def is_model(found: DetectedNuclei, x: int, y: int) -> bool:
    """Whether a well-formed instance of about the size of a nucleus lies there."""
    label = found.instances[y, x]
    return bool(label and found.well_formed[label - 1] and 250 < np.count_nonzero(found.instances == label) < 600)


def rimmed_nuclei(middles: list[tuple[int, int]]) -> tuple[Image, NDArray[np.int32]]:
    """Nuclei of radius 11 px, every other one pale with a rim and a nucleolus; the map has the dark ones and the nucleoli."""
    haematoxylin_HW, seen = np.zeros((210, 260), np.float32), np.zeros((210, 260), np.int32)
    for k, middle in enumerate(middles):
        cv2.circle(haematoxylin_HW, middle, 11, 0.8, -1)
        if k % 2:
            cv2.circle(haematoxylin_HW, middle, 8, 0.25, -1)
            cv2.circle(haematoxylin_HW, middle, 2, 0.9, -1)
        cv2.circle(seen, middle, 2 if k % 2 else 11, k + 1, -1)
    stains = np.dstack([haematoxylin_HW, np.full_like(haematoxylin_HW, 0.5)])
    grain = np.random.default_rng(0).normal(0, 0.02, (*seen.shape, 3))
    return od_to_rgb(cv2.GaussianBlur(stains, (0, 0), 0.8) @ HED[:2] + 0.03 + grain), seen


def test_background_keeps_no_nuclei(reference: Reference, tissue: Image) -> None:
    stain = haematoxylin_thresholds(tissue)
    before = (stain.density > stain.otsu).mean()
    after = (haematoxylin_thresholds(reference.background_rgb).density > stain.otsu).mean()
    assert after < 0.02 * before
    assert reference.residual == 0


@pytest.mark.parametrize("fill", ["telea", "detail"])
def test_inpainting_leaves_the_rest_alone(tissue: Image, fill: str) -> None:
    missing = np.zeros(tissue.shape[:2], dtype=bool)
    missing[100:130, 90:140] = True
    filled = inpaint(tissue, missing, fill, np.random.default_rng(0))  # type: ignore[arg-type]
    far = cv2.dilate(missing.astype(np.uint8), np.ones((9, 9), np.uint8)) == 0
    assert np.abs(filled[far].astype(int) - tissue[far]).max() <= (0 if fill == "telea" else 1)
    assert (filled[missing] != tissue[missing]).any()


def test_push_pull_restores_a_smooth_image() -> None:
    rows, columns = np.mgrid[0:96, 0:80].astype(np.float32)
    smooth = np.stack([rows, columns, rows + columns], axis=2)
    known = np.random.default_rng(0).random((96, 80)) > 0.4
    filled = push_pull(smooth, known)
    assert np.abs(filled - smooth)[4:-4, 4:-4].mean() < 1.0
    assert not push_pull(smooth, np.zeros_like(known)).any()


def test_detail_fill_keeps_the_contrast_of_texture() -> None:
    rng = np.random.default_rng(3)
    texture = cv2.GaussianBlur(rng.normal(0, 1, (160, 160, 3)).astype(np.float32), (0, 0), 1.0) + 5
    known = np.ones((160, 160), dtype=bool)
    known[50:90, 60:110] = False
    filled = inpaint_detail(texture, known, rng)
    assert np.isfinite(filled).all()
    assert 0.7 < filled[~known].std() / texture[known].std() < 1.3


def test_material_is_the_image_inside_and_nuclear_outside(tissue: Image) -> None:
    instances, od, eosin = segment(tissue), rgb_to_od(tissue), separate_stains(tissue)[1]
    sub = sub_segmentation(instances, np.ones(instances.max() + 1, dtype=bool), 2)
    material = nuclear_texture(od, eosin, sub, "nuclei")
    assert np.allclose(material[sub], od[sub])
    assert np.abs(material[~sub].mean(axis=0) - od[sub].mean(axis=0)).max() < 0.15
    report = nuclear_texture(od, eosin, sub, "eosin")
    assert np.allclose(report.mean(axis=(0, 1)), od[sub].mean(axis=0), atol=0.02)
    texture = eosin_texture(eosin)
    assert np.corrcoef(report[..., 0].ravel(), texture.ravel())[0, 1] > 0.99


def test_statistics_are_plausible_and_json(reference: Reference) -> None:
    described = json.loads(json.dumps(reference_statistics(reference)))
    _, true = draw_tissue(2, 256)
    assert 0.5 < described["nuclei_expected"] / true.max() < 2
    assert 0.5 < np.median(described["nuclei"]["area_px"]) / np.median(np.bincount(true.ravel())[1:]) < 2
    assert 0.6 <= described["edge_sigma_px"] <= 2.5
    assert described["haematoxylin_od"]["nuclei"] > 2 * described["haematoxylin_od"]["background"]
    assert np.allclose(np.linalg.norm(described["stain_vectors"], axis=1), 1, atol=1e-3)
    assert len({len(values) for values in described["nuclei"].values()}) == 1
    cells = np.array(described["density"]["nuclei_per_cell"])
    assert cells.shape == (4, 4)
    assert abs(cells.sum() - described["nuclei_expected"]) < 0.2


def test_clark_evans_tells_order_from_clusters() -> None:
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(np.arange(5, 500, 10), np.arange(5, 500, 10)), axis=-1).reshape(-1, 2)
    clusters = (rng.uniform(0, 500, (50, 1, 2)) + rng.normal(0, 2, (50, 40, 2))).reshape(-1, 2)
    assert abs(clark_evans(grid.astype(np.float32), 500**2) - 2) < 0.01
    assert abs(clark_evans(rng.uniform(0, 500, (2000, 2)).astype(np.float32), 500**2) - 1) < 0.05
    assert clark_evans(clusters.astype(np.float32), 500**2) < 0.5


def test_density_map_keeps_the_sum_of_odd_sizes() -> None:
    chance = np.full((100, 130), 0.01, np.float32)
    cells = np.array(density_map(chance))
    assert cells.shape == (2, 3)
    assert abs(cells.sum() - 130) < 0.05


def test_taking_apart_is_deterministic(reference: Reference, tissue: Image) -> None:
    again = analyse_reference(tissue.copy(), "tissue", profile_named("tiny"))
    for field in dataclasses.fields(Reference):
        one, other = getattr(reference, field.name), getattr(again, field.name)
        if isinstance(one, np.ndarray):
            assert np.array_equal(one, other)


def test_images_without_nuclei_are_named() -> None:
    white = np.full((128, 128, 3), 246, dtype=np.uint8)
    with pytest.raises(InvalidImage, match="slide 7 has no stained tissue"):
        analyse_reference(white, "slide 7", profile_named("tiny"))
    pink = np.full((128, 128, 3), (220, 150, 190), dtype=np.uint8)
    with pytest.raises(InvalidImage, match="slide 8 shows too few nuclei"):
        analyse_reference(pink, "slide 8", profile_named("tiny"))

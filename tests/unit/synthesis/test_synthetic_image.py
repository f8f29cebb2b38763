"""Composition, windows and whole images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nucleate.errors import InvalidInput, UnknownProfile
from nucleate.pathology.metrics.dice_aji_pq import score
from nucleate.pathology.segmentation.classical import segment
from nucleate.synthesis.analysis.reference import Reference
from nucleate.synthesis.generation.batch import Batch, ReferenceCache, Source, ordered_map
from nucleate.synthesis.generation.composition import blend, soft_mask
from nucleate.synthesis.generation.hard_negatives import add_hard_negatives
from nucleate.synthesis.generation.synthetic_image import SyntheticPair, sample_window, synthesize
from nucleate.synthesis.phantom.tissue import draw_tissue, main
from nucleate.synthesis.profiles import PROFILES, profile_named

TINY = profile_named("tiny")


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_composition_is_the_report_formula(seed: int) -> None:
    """S = M N + (1 - M) B, on intensities or on densities; M = 0 and M = 1 give B and N back exactly."""
    rng = np.random.default_rng(seed)
    material, background = rng.integers(1, 256, (2, 5, 7, 3), dtype=np.uint8)
    mask = rng.random((5, 7)).astype(np.float32)
    m = mask[..., None]
    linear = m * material + (1 - m) * background
    assert np.abs(blend(mask, material, background, "linear") - linear).max() <= 0.5 + 1e-4
    transmitted = (material / 255.0) ** m * (background / 255.0) ** (1 - m)
    assert np.abs(blend(mask, material, background, "density") / 255.0 - transmitted).max() <= 0.51 / 255
    for method in ("linear", "density"):
        assert np.array_equal(blend(np.ones_like(mask), material, background, method), material)  # type: ignore[arg-type]
        assert np.array_equal(blend(np.zeros_like(mask), material, background, method), background)  # type: ignore[arg-type]


def test_soft_mask_is_half_at_the_edge() -> None:
    instances = np.zeros((40, 40), dtype=np.int32)
    instances[:, 20:] = 1
    mask = soft_mask(instances, 1.2)
    assert 0.5 < mask[20, 20] < 0.75
    assert 0.25 < mask[20, 19] < 0.5
    assert mask[20, 0] == 0
    assert mask[20, 39] == pytest.approx(1)


def test_nuclei_are_where_the_mask_says(reference: Reference) -> None:
    """Three quarters of the nuclei are dark, as in the reference, so that thresholding must find most of the mask."""
    drawn = synthesize(reference, 0, 5, TINY.sized(256))
    assert drawn.image.shape == (256, 256, 3)
    assert drawn.instances.max() == drawn.placed
    assert score(drawn.instances, segment(drawn.image)).dice1 > 0.7


def test_report_mode_draws_too() -> None:
    from nucleate.synthesis.analysis.reference import analyse_reference

    report = profile_named("report").sized(96)
    drawn = synthesize(analyse_reference(draw_tissue(2, 200)[0], "t", report), 0, 1, report)
    assert drawn.placed > 0
    assert drawn.provenance["profile"]["fill"] == "telea"


def test_window_larger_than_the_reference_is_mirrored(reference: Reference) -> None:
    drawn = synthesize(reference, 0, 0, TINY.sized(300))
    assert drawn.image.shape == (300, 300, 3)
    window = sample_window(np.random.default_rng(0), reference.centre_intensity[:70], 150)
    assert window.rows.max() < 70
    assert set(np.abs(np.diff(window.rows))) <= {0, 1}


def sources() -> list[Source]:
    return [Source(f"t{k}", f"k{k}", lambda k=k: draw_tissue(k, 160)[0]) for k in (2, 5, 7)]  # type: ignore[misc]


def drawn_by(workers: int, skip: tuple[int, ...] = (), first: int = 0, count: int = 7) -> dict[int, SyntheticPair]:
    profile = replace(TINY.sized(80), restained=0.5)
    batch = Batch(sources(), count, 11, profile, workers, ReferenceCache(2), first)
    return {image.provenance["index"]: image for group in batch.groups() for image in batch.images(group, skip)}


def test_same_seed_same_bytes_for_any_workers() -> None:
    alone, many = drawn_by(1), drawn_by(4)
    assert list(alone) == list(many) == list(range(7))
    for index, image in alone.items():
        assert image.image.tobytes() == many[index].image.tobytes()
        assert image.instances.tobytes() == many[index].instances.tobytes()
        assert image.provenance == many[index].provenance
    assert len({image.image.tobytes() for image in alone.values()}) == 7
    resumed = drawn_by(2, skip=(0, 1, 2, 5))
    assert list(resumed) == [3, 4, 6]
    assert all(image.image.tobytes() == alone[index].image.tobytes() for index, image in resumed.items())


def test_distractors_are_background_and_keep_off_the_nuclei(reference: Reference) -> None:
    rng, changed = np.random.default_rng(0), 0
    instances = np.zeros((128, 128), np.int32)
    cv2.circle(instances, (64, 64), 20, 1, -1)
    plain = np.full((128, 128, 3), (225, 170, 200), np.uint8)
    for _ in range(10):
        drawn, counts = add_hard_negatives(plain, instances, reference, 12.0, rng)
        away = cv2.distanceTransform((instances == 0).astype(np.uint8), cv2.DIST_L2, 5) > 3
        difference = np.abs(drawn.astype(int) - plain).max(axis=2)
        assert difference[~away].max() <= 3  # the tail of a soft edge
        assert (difference.max() > 20) == (sum(counts.values()) > 0)
        changed += sum(counts.values())
    assert changed > 20
    nothing, none = add_hard_negatives(plain, instances, reference, 0.0, rng)
    assert np.array_equal(nothing, plain)
    assert sum(none.values()) == 0


def test_replicas_share_a_run_by_ranges() -> None:
    alone = drawn_by(1)
    parts = drawn_by(1, first=0, count=2) | drawn_by(2, first=2, count=1) | drawn_by(1, first=3, count=4)
    assert sorted(parts) == list(range(7))
    assert all(image.image.tobytes() == alone[index].image.tobytes() for index, image in parts.items())
    assert all(image.provenance == alone[index].provenance for index, image in parts.items())
    partners = {image.provenance["stains"]["partner"] for image in alone.values() if image.provenance["stains"]}
    assert len(partners) > 1  # of sources that a range of one image draws nothing from, too


def test_every_pair_says_where_it_is_from_and_how_far_off() -> None:
    provenance = drawn_by(1, count=1)[0].provenance
    assert {"version", "seed", "index", "reference", "window", "profile", "requested", "placed"} < provenance.keys()
    assert 0 <= provenance["realism"]["colour_distance"] < 40
    assert 0.5 < provenance["realism"]["sharpness_ratio"] < 2


def test_ordered_stops_at_an_error() -> None:
    started: list[int] = []

    def work(item: int) -> int:
        started.append(item)
        if item == 3:
            raise InvalidInput("three")
        return item

    def numbers() -> Iterator[int]:
        yield from range(1000)

    with pytest.raises(InvalidInput, match="three"):
        list(ordered_map(work, numbers(), 2))
    assert len(started) < 20


def test_profiles_are_checked() -> None:
    assert profile_named("") is PROFILES["cpu"]
    with pytest.raises(UnknownProfile, match="'huge': choose one of tiny, cpu, full"):
        profile_named("huge")
    for size in (1, 63, 4097):
        with pytest.raises(InvalidInput, match=f"size {size} "):
            TINY.sized(size)


def test_tissue_is_deterministic_and_hard_enough() -> None:
    rgb, instances = draw_tissue(4, 256)
    again, _ = draw_tissue(4, 256)
    other, _ = draw_tissue(5, 256)
    assert rgb.tobytes() == again.tobytes() != other.tobytes()
    assert instances.max() > 15
    assert 0.6 < score(instances, segment(rgb)).dice1 < 0.95


def test_tissue_command_writes_pairs(tmp_path, capsys) -> None:
    main(["--count", "2", "--size", "64", "--seed", "9", "--out", str(tmp_path)])
    names = sorted(path.name for path in (tmp_path / "images").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "masks").iterdir()) == ["tissue-0000009.png", "tissue-0000010.png"]
    with pytest.raises(SystemExit):
        main(["--size", "9", "--out", str(tmp_path)])
    assert "size 9 is outside" in capsys.readouterr().err

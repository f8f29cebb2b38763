"""Reinhard and ColorNormNet: statistics, background, odd images, determinism."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nucleate.colornorm.apply import add_offsets, predict_offsets
from nucleate.colornorm.background import darkest_channel, examine
from nucleate.colornorm.network import build_network
from nucleate.colornorm.profiles import PROFILES
from nucleate.colornorm.reinhard import lab_statistics, normalize_reinhard
from nucleate.colornorm.state import TrainingState
from nucleate.colornorm.thumbnails import target_patches
from nucleate.colornorm.training import colour_loss, train
from nucleate.errors import CorruptBlob

TINY = PROFILES["tiny"]
CPU = torch.device("cpu")


def tissue(seed=0, colour=(190, 120, 170), glass=243, side=96):
    """Textured stain with a strip of glass of the given level on the right."""
    rng = np.random.default_rng(seed)
    coarse = cv2.resize(rng.normal(0, 18, (side // 4, side // 4, 3)), (side, side), interpolation=cv2.INTER_CUBIC)
    rgb = np.asarray(colour) + coarse
    rgb[:, -side // 3 :] = rng.normal(glass, 1.5, (side, side // 3, 3))
    return np.clip(rgb, 0, 255).astype(np.uint8)


TARGET = tissue(1, (150, 90, 160))


def test_reinhard_takes_over_the_statistics_of_the_tissue():
    target = lab_statistics(examine(TARGET))
    source = tissue(2)
    after = lab_statistics(examine(normalize_reinhard(source, examine(source), target)))
    assert np.abs(after.mean - target.mean).max() < 2
    assert np.abs(after.deviation - target.deviation).max() < 2


@pytest.mark.parametrize("glass", [255, 243, 225, 190])
def test_glass_of_any_brightness_stays_as_it_is(glass):
    source = tissue(3, glass=glass)
    slide = examine(source)
    strip = np.s_[:, -30:]
    for after in (
        normalize_reinhard(source, slide, lab_statistics(examine(TARGET))),
        add_offsets(source, slide, np.array([0.2, -0.2, -0.2])),
    ):
        assert np.array_equal(after[strip], source[strip])
        assert not np.array_equal(after[:, :40], source[:, :40])


@settings(max_examples=40, deadline=None)
@given(st.tuples(*[st.integers(0, 255)] * 3), st.integers(0, 30), st.integers(1, 70), st.integers(1, 70))
def test_no_image_breaks_it(colour, noise, height, width):
    rng = np.random.default_rng(0)
    rgb = np.clip(rng.normal(colour, noise, (height, width, 3)), 0, 255).astype(np.uint8)
    slide = examine(rgb)
    assert slide.status in {"", "low_tissue", "grey"}
    if not slide.status:
        for after in (
            normalize_reinhard(rgb, slide, lab_statistics(examine(TARGET))),
            add_offsets(rgb, slide, predict_offsets(build_network((8, 8), 0.2, True, 0), rgb, slide, 32)),
        ):
            assert after.shape == rgb.shape
            assert after.dtype == np.uint8


@pytest.mark.parametrize(
    ("rgb", "status"),
    [
        (np.full((40, 40, 3), 255, np.uint8), "low_tissue"),
        (np.random.default_rng(0).integers(239, 248, (40, 40, 3), dtype=np.uint8), "low_tissue"),
        (np.zeros((40, 40, 3), np.uint8), "grey"),
        (np.full((40, 40, 3), 128, np.uint8), "grey"),
        (np.tile(np.uint8([230, 150, 190]), (40, 40, 1)), ""),
    ],
    ids=["white", "noisy white", "black", "grey", "flat pink"],
)
def test_images_without_stain_are_recognised(rgb, status):
    assert examine(rgb).status == status


def test_flat_tissue_is_moved_and_not_stretched():
    flat = np.tile(np.uint8([230, 150, 190]), (40, 40, 1))
    after = normalize_reinhard(flat, examine(flat), lab_statistics(examine(TARGET)))
    assert after.std(axis=(0, 1)).max() == 0
    assert np.abs(after[0, 0].astype(int) - [150, 90, 160]).max() < 15


@given(st.lists(st.floats(-0.3, 0.3), min_size=3, max_size=3))
def test_offsets_are_added_to_tissue_within_half_a_level(offsets):
    dark = np.full((4, 4, 3), 120, np.uint8)
    after = add_offsets(dark, examine(tissue()), np.array(offsets))
    assert np.abs(after[0, 0] - (120 + 255 * np.array(offsets))).max() <= 0.5 + 1e-9


def test_darkest_channel():
    assert darkest_channel(np.uint8([[[9, 4, 7]]]))[0, 0] == 4


def test_the_loss_is_l1_plus_lambda_l2_over_tissue():
    predicted, wanted = torch.tensor([[0.1, 0.0, -0.2]]), torch.tensor([[0.0, 0.0, 0.0]])
    loss = colour_loss(predicted, wanted, torch.ones(1, 1, 4, 4), weight_l2=2.0)
    assert loss.item() == pytest.approx(0.3 / 3 + 2 * (0.01 + 0.04) / 3)


class TestTraining:
    patches = target_patches(TARGET, examine(TARGET), TINY.patches, TINY.thumbnail, np.random.default_rng(0))

    def run(self, state, on_checkpoint=lambda data: None, stop_at=None, profile=TINY):
        def on_step(step, losses):
            if step == stop_at:
                raise InterruptedError

        return train(self.patches, profile, state, 5, on_step=on_step, on_checkpoint=on_checkpoint)

    @pytest.mark.parametrize("green", [False, True])
    def test_it_learns_the_offsets_and_leaves_green_unless_freed(self, green):
        from dataclasses import replace

        state = TrainingState(TINY, green, 0, CPU)
        metrics = self.run(state, profile=replace(TINY, steps=150, batch=8))
        assert metrics["offset_mae"] < 0.03  # of offsets whose mean size is .1
        slide = examine(TARGET)
        found = predict_offsets(state.network, add_offsets(TARGET, slide, np.array([0.1, 0.0, -0.1])), slide, TINY.thumbnail)
        assert np.abs(found - [-0.1, 0, 0.1]).max() < 0.05
        assert (found[1] == 0) is np.bool_(not green)

    def test_a_killed_training_resumes_to_the_same_bits(self):
        whole, kept = TrainingState(TINY, False, 5, CPU), []
        metrics = self.run(whole)
        with pytest.raises(InterruptedError):
            self.run(TrainingState(TINY, False, 5, CPU), kept.append, stop_at=7)
        resumed = TrainingState(TINY, False, 5, CPU)
        resumed.restore(kept[-1])
        assert resumed.step == 6
        assert self.run(resumed) == metrics
        assert resumed.to_bytes() == whole.to_bytes()

    def test_foreign_checkpoints_are_refused(self):
        with pytest.raises(CorruptBlob):
            TrainingState(TINY, False, 0, CPU).restore(TrainingState(PROFILES["cpu"], False, 0, CPU).to_bytes())

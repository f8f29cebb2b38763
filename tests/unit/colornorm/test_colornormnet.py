"""ColorNormNet: its modes, its training, and the program that ONNX Runtime runs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.colornorm.test_methods import odd_images
from tests.unit.colornorm.tissue import tissue

from nucleate.colornorm import model_file
from nucleate.colornorm.colornormnet.colour_change import add_offsets, apply_changes, apply_to_thumbnails
from nucleate.colornorm.colornormnet.network import MODES, REACH, Shape, build_network
from nucleate.colornorm.colornormnet.normalizer import ColorNormNetNormalizer, on_device
from nucleate.colornorm.colornormnet.thumbnails import target_patches
from nucleate.colornorm.colornormnet.training import colour_loss, train
from nucleate.colornorm.colornormnet.training_state import TrainingState
from nucleate.colornorm.methods.registry import normalize
from nucleate.colornorm.methods.tissue_weights import sample_tissue
from nucleate.colornorm.profiles import PROFILES
from nucleate.errors import CorruptBlob, InvalidModel
from nucleate.learning.onnx_program import OnnxProgram

TINY = PROFILES["tiny"]
CPU = torch.device("cpu")
TARGET = tissue(1)


def net(mode, seed=0, widths=(8, 8), green=True):
    network = build_network(Shape(widths, mode, green), seed)
    return ColorNormNetNormalizer(on_device(network), 32, mode)


@pytest.mark.parametrize("mode", MODES)
@settings(max_examples=30, deadline=None)
@given(rgb=odd_images())
def test_no_image_breaks_it(mode, rgb):
    result = normalize(net(mode), rgb)
    assert result.image.shape == rgb.shape
    assert result.image.dtype == np.uint8
    assert result.status in {"normalized", "low_tissue", "grey"}


@pytest.mark.parametrize("mode", MODES)
def test_white_stays_white(mode):
    source = tissue(3, glass=255)
    source[:, -40:] = 255
    for seed in range(3):
        after = normalize(net(mode, seed), source).image
        assert (after[:, -40:] == 255).all()


@given(st.lists(st.floats(-0.3, 0.3), min_size=3, max_size=3))
def test_offsets_are_added_to_tissue_within_half_a_level(offsets):
    dark = np.full((4, 4, 3), 120, np.uint8)
    after = add_offsets(dark, sample_tissue(tissue()), np.array(offsets))
    assert np.abs(after[0, 0] - (120 + 255 * np.array(offsets))).max() <= 0.5 + 1e-9


@pytest.mark.parametrize("mode", MODES)
def test_whole_images_are_changed_as_thumbnails_are_in_training(mode):
    rgb = tissue(2, 96)[:, :60]
    examined = sample_tissue(rgb)
    changes = np.random.default_rng(0).uniform(-0.1, 0.1, (6 if mode == "density" else 3, 1, 1))
    if mode == "pixel":
        changes = np.broadcast_to(changes, (3, 4, 4)).copy()
    ours = apply_changes(rgb, examined, changes, mode)
    weight = torch.from_numpy(examined.weight_of_level[rgb.min(axis=2)])[None, None]
    image = torch.from_numpy(rgb.transpose(2, 0, 1)[None] / 255.0).float()
    expected = (
        apply_to_thumbnails(image, weight, torch.from_numpy(changes[None]).float(), mode)[0]
        .clamp(0, 1)
        .permute(1, 2, 0)
        .numpy()
        * 255
    )
    assert np.abs(ours - expected).max() < 1.01


def test_the_loss_is_l1_plus_lambda_l2_over_tissue():
    found, target = torch.zeros(1, 3, 2, 2), torch.zeros(1, 3, 2, 2)
    found[0, :, 0, 0] = torch.tensor([0.1, 0.0, -0.2])
    weight = torch.zeros(1, 1, 2, 2)
    weight[0, 0, 0] = 1.0
    assert colour_loss(found, target, weight, weight_l2=2.0).item() == pytest.approx((0.3 / 3 + 2 * (0.01 + 0.04) / 3) / 2)


class TestTraining:
    patches = target_patches(TARGET, sample_tissue(TARGET), TINY.patches, TINY.thumbnail, np.random.default_rng(0))

    def run(self, state, on_checkpoint=lambda data: None, stop_at=None, profile=TINY):
        def on_step(step, losses):
            if step == stop_at:
                raise InterruptedError

        return train(self.patches, profile, state, 5, on_step=on_step, on_checkpoint=on_checkpoint)

    @pytest.mark.parametrize("mode", MODES)
    @pytest.mark.parametrize("green", [False, True])
    def test_it_learns_to_undo_changes_and_leaves_green_unless_freed(self, mode, green):
        profile = replace(TINY, steps=150, batch=8)
        state = TrainingState(profile, Shape(profile.widths, mode, green), 0, CPU)
        before = train(self.patches, replace(profile, steps=0), state, 5, on_step=lambda *_: None, on_checkpoint=lambda _: None)
        after = self.run(state, profile=profile)
        assert after["colour_mae"] < 0.5 * before["colour_mae"]
        by = ColorNormNetNormalizer(on_device(state.network), TINY.thumbnail, mode)
        shifted = add_offsets(TARGET, sample_tissue(TARGET), np.array([0.08, 0.0, -0.08]))
        found = normalize(by, shifted).image
        assert np.array_equal(found[..., 1], shifted[..., 1]) is not green
        tissue_part = np.s_[:, :80]
        assert np.abs(found.astype(int) - TARGET)[tissue_part].mean() < np.abs(shifted.astype(int) - TARGET)[tissue_part].mean()

    def test_a_killed_training_resumes_to_the_same_bits(self):
        shape = Shape(TINY.widths, "density")
        whole, kept = TrainingState(TINY, shape, 5, CPU), []
        metrics = self.run(whole)
        with pytest.raises(InterruptedError):
            self.run(TrainingState(TINY, shape, 5, CPU), kept.append, stop_at=7)
        resumed = TrainingState(TINY, shape, 5, CPU)
        resumed.restore(kept[-1])
        assert resumed.step == 6
        assert self.run(resumed) == metrics
        assert resumed.to_bytes() == whole.to_bytes()

    def test_foreign_checkpoints_are_refused(self):
        other = TrainingState(PROFILES["cpu"], Shape(PROFILES["cpu"].widths), 0, CPU)
        with pytest.raises(CorruptBlob):
            TrainingState(TINY, Shape(TINY.widths), 0, CPU).restore(other.to_bytes())


@pytest.mark.parametrize("mode", MODES)
def test_the_onnx_program_gives_the_same_changes(mode):
    network = build_network(Shape((8, 8), mode), 3).eval()
    program = OnnxProgram(model_file.export_network(network, 32), "model.onnx", ["rgb", "weight"], "changes", threads=1)
    rgb, weight = torch.rand(1, 3, 32, 32), torch.rand(1, 1, 32, 32)
    with torch.no_grad():
        expected = network(rgb, weight)
    found = program.run({"rgb": rgb, "weight": weight}, *expected.shape[2:])
    assert torch.allclose(found, expected, atol=1e-5)
    assert expected.abs().max() <= REACH * max(network.shape.limits)


@pytest.mark.parametrize(
    "change",
    [{"mode": "other"}, {"widths": []}, {"widths": [8, 10_000]}, {"green": 1}, {"thumbnail": 0}, {"thumbnail": None}],
)
def test_cards_out_of_range_are_refused(change):
    import json

    model = model_file.pack(build_network(Shape((8, 8)), 0), TINY, dataset_digest="d", metrics={})
    card = json.loads(model.card)
    card["config"] |= change
    with pytest.raises(InvalidModel, match="damaged or out of range"):
        model_file.unpack(replace(model, card=json.dumps(card).encode()), CPU)


def test_a_program_of_other_weights_is_refused():
    ours, other = (model_file.pack(build_network(Shape((8, 8)), seed), TINY, dataset_digest="d", metrics={}) for seed in (0, 1))
    mixed = replace(ours, files={**ours.files, model_file.ONNX_FILE: other.files[model_file.ONNX_FILE]})
    with pytest.raises(InvalidModel, match="does not belong"):
        model_file.unpack(mixed, CPU)
    assert normalize(model_file.unpack(ours, CPU), tissue(2)).status == "normalized"

"""Training: deterministic, resumable to the bit, and fed as the report says."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nucleate.errors import Aborted, CorruptBlob, EmptyInput, InvalidModel, SizeMismatch
from nucleate.refiner.model_file import DISCRIMINATOR_FILE, REFINER_FILE, ModelBytes, pack, unpack
from nucleate.refiner.pixels import to_bytes, to_signed
from nucleate.refiner.profiles import PROFILES
from nucleate.refiner.training.crops import SyntheticImage, TrainingImages, draw_batch, split_held_out
from nucleate.refiner.training.discriminator_input import jitter_and_compress
from nucleate.refiner.training.history_buffer import HistoryBuffer
from nucleate.refiner.training.loop import train
from nucleate.refiner.training.state import TrainingState

TINY = PROFILES["tiny"]
CPU = torch.device("cpu")


def images(side=64):
    rng = np.random.default_rng(0)
    instances = np.zeros((side, side), np.int32)
    instances[20:34, 18:30] = 1
    rgb = rng.integers(150, 220, (side, side, 3), dtype=np.uint8)
    rgb[instances > 0] = (90, 60, 140)
    return TrainingImages([SyntheticImage("s", rgb, instances)], [rng.integers(120, 240, (side, side, 3), dtype=np.uint8)])


def run(state, on_checkpoint=lambda data: None, stop_at=None, profile=TINY):
    def on_step(step, losses):
        if step == stop_at:
            raise InterruptedError

    return train(images(), profile, state, 7, on_step=on_step, on_checkpoint=on_checkpoint)


def test_a_killed_training_resumes_to_the_same_bits():
    whole = TrainingState(TINY, 7, CPU)
    metrics = run(whole)
    kept = []
    with pytest.raises(InterruptedError):
        run(TrainingState(TINY, 7, CPU), kept.append, stop_at=5)
    resumed = TrainingState(TINY, 7, CPU)
    resumed.restore(kept[-1])
    assert resumed.step == 4
    assert run(resumed) == metrics
    assert resumed.to_bytes() == whole.to_bytes()


@pytest.mark.parametrize("options", [("gradient", 0.0, 0.0), ("identity", 1e-2, 0.0), ("identity", 0.0, 5.0)])
def test_options_change_the_training_and_resume_to_the_same_bits(options):
    profile = TINY.departing(*options)
    kept, plain, whole = [], TrainingState(TINY, 7, CPU), TrainingState(profile, 7, CPU)
    run(plain)
    run(whole, kept.append, profile=profile)
    resumed = TrainingState(profile, 7, CPU)
    resumed.restore(kept[-1])
    run(resumed, profile=profile)
    assert resumed.to_bytes() == whole.to_bytes()
    weights = [torch.cat([p.flatten() for p in state.refiner.parameters()]) for state in (plain, whole)]
    assert not torch.equal(*weights)


def test_what_is_held_out_is_never_trained_on():
    many = TrainingImages([images().synthetic[0]] * 9, [np.full((64, 64, 3), k, np.uint8) for k in range(17)])
    lessons, apart = split_held_out(many)
    assert [int(real[0, 0, 0]) for real in apart.real] == [7, 15]
    assert len(lessons.real) == 15
    assert (len(lessons.synthetic), len(apart.synthetic)) == (8, 1)
    few = split_held_out(images())
    assert [len(side.real) for side in few] == [1, 1]


def test_another_seed_trains_another_model_and_the_refiner_moves():
    first, second = TrainingState(TINY, 7, CPU), TrainingState(TINY, 8, CPU)
    metrics = run(first)
    run(second)
    assert first.to_bytes() != second.to_bytes()
    assert metrics["mean_change_levels"] > 0


def test_damaged_or_foreign_checkpoints_are_refused():
    state = TrainingState(TINY, 7, CPU)
    with pytest.raises(CorruptBlob):
        state.restore(b"nonsense")
    with pytest.raises(CorruptBlob):
        TrainingState(PROFILES["cpu"], 7, CPU).restore(state.to_bytes())


def test_a_loss_that_is_not_finite_ends_the_training():
    state = TrainingState(TINY, 7, CPU)
    with torch.no_grad():
        state.discriminator.layers[-1].bias.fill_(float("nan"))
    with pytest.raises(Aborted, match="diverged at step 1"):
        run(state)


def test_the_history_buffer_really_fills_and_is_really_shown():
    rng = np.random.default_rng(0)
    history = HistoryBuffer(capacity=5, crop=4)
    counts, remembered = [], 0
    for step in range(1, 9):
        fresh = np.full((4, 3, 4, 4), step, np.uint8)
        seen = history.exchange(fresh, rng)
        assert (seen[2:] == step).all()
        remembered += int((seen[:2] != step).any())
        counts.append(history.count)
    assert counts == [2, 4, 5, 5, 5, 5, 5, 5]
    assert remembered == 7  # every step but the first
    assert (history.images_N3HW > 0).all()


def test_batches_are_a_function_of_the_generator_and_small_images_are_continued():
    first, second = (draw_batch(images(40), 3, 48, np.random.default_rng([1, 2])) for _ in range(2))
    assert torch.equal(first.x, second.x)
    assert torch.equal(first.y, second.y)
    assert first.x.shape == (3, 3, 48, 48)
    assert first.band.shape == (3, 1, 48, 48)
    assert 0 < first.band.mean() < 1


def test_treatment_is_close_and_passes_the_gradient():
    smooth = torch.linspace(-0.5, 0.5, 64).expand(2, 3, 64, 64).clone().requires_grad_()
    treated = jitter_and_compress(smooth, (90, 95), 0.02, np.random.default_rng(0))
    assert 0 < (treated - smooth).abs().mean() < 0.05
    treated.sum().backward()
    assert torch.allclose(smooth.grad, torch.ones_like(smooth))


def test_bytes_survive_the_signed_form():
    levels = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3)
    assert np.array_equal(to_bytes(to_signed(levels)).transpose(0, 2, 3, 1), levels)


def test_training_images_are_checked():
    good = images()
    with pytest.raises(EmptyInput, match="synthetic"):
        TrainingImages([], good.real)
    with pytest.raises(EmptyInput, match="real"):
        TrainingImages(good.synthetic, [])
    with pytest.raises(SizeMismatch, match="'a'"):
        SyntheticImage("a", np.zeros((8, 8, 3), np.uint8), np.zeros((8, 9), np.int32))


class TestModelFile:
    @pytest.fixture
    def packed(self):
        state = TrainingState(TINY, 7, CPU)
        with torch.no_grad():
            state.average.outlet.weight.fill_(0.01)
        return state, pack(state.average, state.discriminator, TINY, dataset_digest="d", parent="", metrics={"m": 1.0})

    def test_round_trip_and_warm_start(self, packed):
        state, model = packed
        refiner, discriminator = unpack(model)
        next_state = TrainingState(TINY, 99, CPU)
        next_state.start_from(refiner, discriminator)
        for got, sent in ((next_state.refiner, state.average), (next_state.discriminator, state.discriminator)):
            assert all(torch.equal(got.state_dict()[k], sent.state_dict()[k]) for k in sent.state_dict())
        with pytest.raises(InvalidModel, match="size"):
            TrainingState(PROFILES["cpu"], 0, CPU).start_from(refiner, discriminator)

    def test_nan_weights(self, packed):
        state, _ = packed
        with torch.no_grad():
            state.average.inlet.weight[0, 0, 0, 0] = float("nan")
        with pytest.raises(InvalidModel, match="NaN"):
            unpack(pack(state.average, state.discriminator, TINY, dataset_digest="", parent="", metrics={}))

    @pytest.mark.parametrize(
        ("card", "message"),
        [
            (b"\xff", "not a JSON model card"),
            (b"[]", "not a JSON model card"),
            (b'{"kind": "hovernet", "architecture": "x", "config": {}}', "hovernet x"),
        ],
    )
    def test_cards_of_something_else(self, packed, card, message):
        with pytest.raises(InvalidModel, match=message):
            unpack(ModelBytes(card, packed[1].files))

    def test_damaged_config_and_files(self, packed):
        model = packed[1]
        with pytest.raises(InvalidModel, match="config"):
            unpack(ModelBytes(model.card.replace(b'"channels": 8', b'"channels": 1e9'), model.files))
        with pytest.raises(InvalidModel, match="does not hold"):
            unpack(ModelBytes(model.card.replace(b'"channels": 8', b'"channels": 16'), model.files))
        with pytest.raises(InvalidModel, match="missing"):
            unpack(ModelBytes(model.card, {REFINER_FILE: model.files[REFINER_FILE]}))
        with pytest.raises(InvalidModel, match="does not hold"):
            unpack(ModelBytes(model.card, model.files | {DISCRIMINATOR_FILE: b"PK pickle"}))

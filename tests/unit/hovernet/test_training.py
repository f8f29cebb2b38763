"""Training is a function of its seed, survives being killed, and learns; weights come back from bytes as they were."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.unit.hovernet.tissue import draw

from nucleate import errors
from nucleate.hovernet import profiles
from nucleate.hovernet.networks import hovernet, model_file
from nucleate.hovernet.networks.hovernet import Architecture, Maps
from nucleate.hovernet.training import checkpoint_selection, learning_rate, masked_pretraining
from nucleate.hovernet.training.augmentation import Augmentation
from nucleate.hovernet.training.loop import Stage, train
from nucleate.hovernet.training.window_sampling import TrainingSample, WindowSampler

TINY = profiles.named("tiny")


class Watcher:
    """Keeps the checkpoint, records the losses and, where asked, dies at a step."""

    def __init__(self, saved=None, dies_at=None):
        self.saved, self.dies_at, self.losses = saved, dies_at, []

    def progress(self, step, total, stage="", **values):
        self.losses.append(values.get("loss"))
        if step == self.dies_at:
            raise errors.Cancelled("killed")

    def checkpoint(self, data):
        self.saved = data

    def restored(self):
        return self.saved


def samples(count=2):
    drawn = [draw(96, 14, seed) for seed in range(count)]
    return [TrainingSample(image, instances, np.zeros(instances.shape, np.bool_)) for image, instances in drawn]


def run(watcher, seed=3, steps=None, initial=None):
    stages = TINY.training.stages if steps is None else (Stage(steps, TINY.training.stages[0].shares),)
    config = dataclasses.replace(TINY.training, stages=stages)
    return train(samples(), [], TINY.arch, config, seed, watcher, initial)


def bits(net):
    return {name: value.numpy().tobytes() for name, value in net.state_dict().items()}


def test_a_frozen_encoder_stays_as_it_was_and_the_branches_learn():
    start = hovernet.build(TINY.arch, 5)
    config = dataclasses.replace(TINY.training, stages=(Stage(3, TINY.training.stages[0].shares, frozen=True),))
    trained = train(samples(), [], TINY.arch, config, 3, Watcher(), start).net
    changed = {name for name, value in bits(trained).items() if value != bits(start)[name]}
    assert changed
    assert not any(name.startswith("encoder.") for name in changed)


def test_the_loss_curve_is_the_golden_one():
    """Guards the whole of training; where a change is meant to move it, replace golden_losses.txt by what this prints."""
    watcher = Watcher()
    run(watcher)
    losses = [loss for loss in watcher.losses if loss is not None]
    print("\n".join(f"{loss:.4f}" for loss in losses))  # noqa: T201 - shown by pytest when the test fails
    golden = [float(line) for line in (Path(__file__).parent / "golden_losses.txt").read_text().split()]
    assert losses == pytest.approx(golden, rel=0.02)


def test_a_training_killed_between_the_papers_two_phases_ends_with_the_same_bits():
    shares = TINY.training.stages[0].shares
    stages = (Stage(3, shares, frozen=True), Stage(4, shares))
    config = dataclasses.replace(TINY.training, stages=stages, checkpoint_every=2)
    whole = train(samples(), [], TINY.arch, config, 3, Watcher())
    killed = Watcher(dies_at=5)
    with pytest.raises(errors.Cancelled):
        train(samples(), [], TINY.arch, config, 3, killed)
    assert bits(train(samples(), [], TINY.arch, config, 3, Watcher(saved=killed.saved)).net) == bits(whole.net)


@pytest.mark.parametrize("dies_at", [7, 11])
def test_a_killed_training_ends_with_the_same_bits(dies_at):
    whole = run(Watcher())
    killed = Watcher(dies_at=dies_at)
    with pytest.raises(errors.Cancelled):
        run(killed)
    assert killed.saved is not None
    resumed = run(Watcher(killed.saved))
    assert bits(resumed.net) == bits(whole.net)
    assert resumed.metrics == whole.metrics
    assert bits(run(Watcher(), seed=4).net) != bits(whole.net)


def test_a_foreign_checkpoint_is_refused():
    with pytest.raises(errors.CorruptBlob):
        run(Watcher(b"not safetensors"))


def test_it_learns():
    watcher = Watcher()
    run(watcher, steps=40)
    assert np.mean(watcher.losses[-5:]) < 0.75 * np.mean(watcher.losses[:5])


def test_divergence_is_an_error():
    broken = hovernet.build(TINY.arch, 0)
    with torch.no_grad():
        broken.np.head[-1].bias.fill_(float("inf"))
    with pytest.raises(errors.Precondition, match="diverged at step 1"):
        run(Watcher(), initial=broken)


def test_windows_come_from_seed_and_step_by_origin():
    marked = [
        dataclasses.replace(s, origin=o, weight=w)
        for s, o, w in zip(samples(), ("pseudo", "accepted"), (1.0, 3.0), strict=True)
    ]
    sampler = WindowSampler(marked, {"pseudo": 1.0, "accepted": 3.0}, 32, Augmentation(), 7)
    assert torch.equal(sampler.batch(5, 4).image, sampler.batch(5, 4).image)
    weights = torch.cat([sampler.batch(step, 8).weight.amax((1, 2)) for step in range(25)])
    assert 0.65 < (weights == 3.0).float().mean() < 0.85


def test_samples_smaller_than_the_crop_are_ignored_beyond_their_border():
    image, instances = draw(40, 4, 1)
    sample = TrainingSample(image, instances, np.zeros((40, 40), np.bool_))
    batch = WindowSampler([sample], {"pseudo": 1.0}, 64, Augmentation(zoom=(1.0, 1.0)), 0).batch(0, 1)
    assert batch.weight.sum() == 40 * 40
    assert not batch.nuclei[batch.weight == 0].any()


def test_no_sample_is_an_error():
    with pytest.raises(errors.InvalidDataset):
        WindowSampler([], {"pseudo": 1.0}, 32, Augmentation(), 0)


def test_selection_never_prefers_a_network_that_finds_nothing():
    net = hovernet.build(TINY.arch, 0)
    blind = {name: value.clone() for name, value in net.state_dict().items()}
    blind["np.head.1.bias"] = torch.tensor([50.0, -50.0])
    assert checkpoint_selection.select_checkpoint(net, {1: blind}, [draw(96, 14, 1)[0]]).agreement == 0.0


def test_one_cycle_rises_and_falls():
    rates = [learning_rate.one_cycle(t, 100, 1.0) for t in range(100)]
    assert max(rates) == pytest.approx(1.0)
    assert rates[0] < 0.1
    assert rates[-1] < 0.02
    assert rates == sorted(rates[:15]) + sorted(rates[15:], reverse=True)


@pytest.mark.parametrize(
    ("name", "parameters", "side", "seen"), [("fast", 33_625_412, 256, 164), ("original", 45_028_676, 270, 80)]
)
def test_published_networks_have_the_papers_sizes(name, parameters, side, seen):
    profile = profiles.named(name)
    with torch.device("meta"):
        net = hovernet.HoVerNet(profile.arch)
    assert sum(value.numel() for value in net.parameters()) == parameters
    assert sum(value.numel() for value in net.encoder.parameters()) == 25_597_504
    assert net(torch.empty(1, 4, side, side, device="meta")).hv.shape == (1, 2, seen, seen)
    assert side == profile.training.crop


def test_a_network_that_sees_more_than_it_answers_for_trains_and_comes_back_from_bytes():
    arch = dataclasses.replace(TINY.arch, stem_stride=1, published=True)
    config = dataclasses.replace(TINY.training, stages=TINY.training.stages[1:])
    trained = train(samples(), [], arch, config, 3, Watcher())
    assert 0 < trained.metrics["loss"] < 10
    packed = model_file.pack(trained.net, "x", dataset_digest="d", parent="", metrics={})
    assert bits(model_file.unpack(*packed).net) == bits(trained.net)


def test_types_are_a_third_branch():
    net = hovernet.build(Architecture(0.0625, 2, (1, 1, 1, 1), (1, 1), classes=("a", "b", "c")), 0)
    assert net(torch.rand(1, 4, 32, 48)).types.shape == (1, 4, 32, 48)


def test_model_bytes_come_back_and_damage_is_found():
    net = hovernet.build(TINY.arch, 1)
    card, weights = model_file.pack(net, "tiny", dataset_digest="d", parent="", metrics={})
    assert bits(model_file.unpack(card, weights).net) == bits(net)
    damaged = json.loads(card)
    damaged["config"]["width"] = 1e9
    other = model_file.pack(hovernet.build(profiles.named("cpu").arch, 1), "cpu", dataset_digest="d", parent="", metrics={})[1]
    for broken in ((b"{}", weights), (card, weights[:-9]), (card, other), (json.dumps(damaged).encode(), weights)):
        with pytest.raises(errors.InvalidModel):
            model_file.unpack(*broken)


def test_the_pretext_learns_what_is_hidden_without_labels_and_resumes():
    shares = TINY.training.stages[0].shares
    config = dataclasses.replace(TINY.training, stages=(Stage(40, shares, pretext=True), Stage(4, shares)))
    unlabelled = [dataclasses.replace(each, instances=np.zeros_like(each.instances)) for each in samples()]
    watcher = Watcher()
    whole = train(unlabelled, [], TINY.arch, config, 3, watcher)
    assert np.mean(watcher.losses[30:40]) < 0.8 * np.mean(watcher.losses[:10])
    killed = Watcher(dies_at=21)
    with pytest.raises(errors.Cancelled):
        train(unlabelled, [], TINY.arch, config, 3, killed)
    assert bits(train(unlabelled, [], TINY.arch, config, 3, Watcher(saved=killed.saved)).net) == bits(whole.net)


def test_the_pretext_asks_for_hidden_pixels_only():
    image = torch.rand(2, 4, 64, 48)
    seen, mask = masked_pretraining.mask_patches(image, (1, 2))
    assert torch.equal(seen[:, 0][mask == 0], image[:, 0][mask == 0])
    assert 0.2 < mask.mean() < 0.6
    perfect = Maps(torch.stack([image[:, 3], image[:, :3].mean(1)], 1), masked_pretraining._slopes(image[:, 3:]))
    wrong = Maps(perfect.np + (1 - mask).unsqueeze(1), perfect.hv)
    for maps in (perfect, wrong):
        assert all(term.item() < 1e-6 for term in masked_pretraining.losses(maps, image, mask).values())
    assert masked_pretraining.losses(Maps(perfect.np + mask.unsqueeze(1), perfect.hv), image, mask)[
        "pretext_planes"
    ].item() == pytest.approx(1)

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.interactive.nuclei import draw_nuclei

from nucleate.dataset.sample_loading import LoadedSample
from nucleate.interactive.clicks import Click, click_maps
from nucleate.interactive.networks.architectures import ARCHITECTURES
from nucleate.interactive.networks.encoder_runtime import TorchBackbone
from nucleate.interactive.networks.interactive_network import CHANNELS, InteractiveNetwork
from nucleate.interactive.networks.latent_diversity import CandidateMasks
from nucleate.interactive.networks.model_file import BACKBONE, WEIGHTS, load_backbone, load_network, pack
from nucleate.interactive.networks.network_input import network_input
from nucleate.interactive.prediction.predictor import Predictor
from nucleate.interactive.refinement import EncoderInputs, Method, RefinementOptions, refine
from nucleate.interactive.training.crops import CropSource
from nucleate.interactive.training.latent_diversity_losses import (
    click_points,
    constraint_loss,
    hindsight_loss,
    jaccard_loss,
    selection_loss,
    total_loss,
)
from nucleate.interactive.training.profiles import PROFILES
from nucleate.interactive.training.trainer import Trainer, seeded_network

BATCH, MASKS, SIZE = 3, 4, 6
seeds = st.integers(0, 2**32 - 1)


def drawn(seed: int) -> tuple[torch.Tensor, ...]:
    """Masks B x M x H x W in 0..1, targets, valid pixels and click indicators."""
    rng = np.random.default_rng(seed)
    masks = rng.random((BATCH, MASKS, SIZE, SIZE))
    target = rng.random((BATCH, SIZE, SIZE)) < rng.random()
    valid = rng.random((BATCH, SIZE, SIZE)) < 0.8
    clicks = rng.random((BATCH, 2, SIZE, SIZE)) < 0.1
    return tuple(torch.from_numpy(np.asarray(array, np.float64)) for array in (masks, target, valid, clicks))


def slow_jaccard(masks, target, valid) -> np.ndarray:
    """1 - sum min / sum max, pixel by pixel."""
    losses = np.zeros((BATCH, MASKS))
    for i in range(BATCH):
        for m in range(MASKS):
            smaller = larger = 0.0
            for y in range(SIZE):
                for x in range(SIZE):
                    if valid[i, y, x]:
                        smaller += min(masks[i, m, y, x], target[i, y, x])
                        larger += max(masks[i, m, y, x], target[i, y, x])
            losses[i, m] = 1 - smaller / larger if larger else 0
    return losses


def slow_constraint(masks, clicks) -> np.ndarray:
    """|S_p * (S_p - B)|_1 + |S_n * (S_n - (1 - B))|_1, click by click."""
    losses = np.zeros((BATCH, MASKS))
    for i, sign, y, x in zip(*np.nonzero(clicks), strict=True):
        for m in range(MASKS):
            losses[i, m] += abs(1 - masks[i, m, y, x]) if sign == 0 else abs(1 - (1 - masks[i, m, y, x]))
    return losses


@settings(max_examples=60, deadline=None)
@given(seeds)
def test_losses_are_their_formulas(seed):
    masks, target, valid, clicks = drawn(seed)
    jaccard, constraint = jaccard_loss(masks, target, valid), constraint_loss(masks, clicks)
    np.testing.assert_allclose(jaccard, slow_jaccard(masks.numpy(), target.numpy(), valid.numpy()), atol=1e-12)
    np.testing.assert_allclose(constraint, slow_constraint(masks.numpy(), clicks.numpy()), atol=1e-12)
    losses = (jaccard + constraint).numpy()
    assert float(hindsight_loss(jaccard + constraint)) == pytest.approx(np.mean([min(row) for row in losses]))
    ranked = np.mean([min(row) + 0.0025 * sum(2 ** (MASKS - 1 - m) * row[m] for m in range(MASKS)) for row in losses])
    assert float(hindsight_loss(jaccard + constraint, 0.0025)) == pytest.approx(ranked)


@settings(max_examples=60, deadline=None)
@given(seeds)
def test_the_selection_loss_is_its_formula(seed):
    rng = np.random.default_rng(seed)
    scores, losses = rng.normal(0, 3, (BATCH, MASKS)), rng.random((BATCH, MASKS))
    expected = np.mean([-g[np.argmin(row)] + np.log(np.exp(g).sum()) for g, row in zip(scores, losses, strict=True)])
    assert float(selection_loss(torch.from_numpy(scores), torch.from_numpy(losses))) == pytest.approx(expected)


@settings(max_examples=60, deadline=None)
@given(seeds)
def test_hindsight_is_at_most_each_mask_s_own_loss_and_never_negative(seed):
    masks, target, valid, clicks = drawn(seed)
    losses = jaccard_loss(masks, target, valid) + constraint_loss(masks, clicks)
    assert (losses >= 0).all()
    assert (jaccard_loss(masks, target, valid) <= 1 + 1e-12).all()
    best = float(hindsight_loss(losses))
    assert all(best <= float(losses[:, m].mean()) + 1e-12 for m in range(MASKS))
    further = torch.cat([losses, torch.rand_like(losses)], 1)
    assert float(hindsight_loss(further)) <= best + 1e-12  # another mask never makes it worse


@settings(max_examples=30, deadline=None)
@given(seeds, st.integers(0, MASKS - 1))
def test_one_perfect_mask_is_enough(seed, perfect):
    masks, target, valid, _ = drawn(seed)
    clicks = torch.stack([target, 1 - target], 1)
    masks[:, perfect] = target
    assert float(hindsight_loss(jaccard_loss(masks, target, valid) + constraint_loss(masks, clicks))) == 0


def test_two_empty_masks_agree():
    nothing = torch.zeros(1, 1, 4, 4)
    assert jaccard_loss(nothing, nothing[:, 0], torch.ones(1, 4, 4)).item() == 0
    assert jaccard_loss(nothing + 1, nothing[:, 0], torch.zeros(1, 4, 4)).item() == 0  # nothing counts


def test_click_points_mark_clicked_pixels_inside():
    points = click_points([[Click(1, 2, positive=True), Click(9, 0, positive=True)], [Click(0, 3, positive=False)]], 4, 5)
    assert points.shape == (2, 2, 4, 5)
    assert points.nonzero().tolist() == [[0, 0, 2, 1], [1, 1, 3, 0]]


def test_the_selection_network_gets_no_say_in_the_masks():
    torch.manual_seed(0)
    network = InteractiveNetwork(ARCHITECTURES["tiny"].with_masks(3))
    candidates = network.candidate_masks(
        torch.rand(2, CHANNELS[0], 64, 64), torch.rand(2, 2, 64, 64), torch.zeros(2, 1, 64, 64)
    )
    selection_loss(candidates.scores, torch.rand(2, 3)).backward()
    reached = {name.split(".")[1] for name, p in network.named_parameters() if p.grad is not None and p.grad.any()}
    assert reached == {"selection"}


def features_of(network: InteractiveNetwork, count: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(count, network.config.features, 16, 16, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def diverse() -> InteractiveNetwork:
    """Three masks of random weights, selected differently for different inputs."""
    torch.manual_seed(0)
    network = InteractiveNetwork(ARCHITECTURES["tiny"].with_masks(3)).eval().requires_grad_(requires_grad=False)
    torch.nn.init.normal_(network.head.classify.weight)
    network.head.selection.score.bias -= network.head.candidate_masks(features_of(network, 32, 7)).scores.mean(0)
    return network


def test_each_item_is_answered_by_the_mask_of_its_highest_score(diverse):
    features = features_of(diverse, 12)
    candidates = diverse.head.candidate_masks(features)
    logits, auxiliary = diverse.head(features)
    assert candidates.logits.shape == (12, 3, 16, 16)
    assert auxiliary.shape == (12, 2, 16, 16)
    chosen = candidates.scores.argmax(1).tolist()
    assert len(set(chosen)) > 1
    assert all(torch.equal(logits[i, 0], candidates.logits[i, m]) for i, m in enumerate(chosen))


def test_a_settled_network_keeps_to_one_mask_and_shares_its_weights(diverse):
    for seed in range(6):
        features, others = features_of(diverse, 1, seed), features_of(diverse, 5, 100 + seed)
        mask = int(diverse.head.candidate_masks(features).scores.argmax())
        single = diverse.with_selected_mask(features)
        torch.testing.assert_close(single.head(others)[0][:, 0], diverse.head.candidate_masks(others).logits[:, mask])
        assert single.with_selected_mask(others[:1]) is single
        assert single.head.pixels is diverse.head.pixels
    assert diverse.head.selection is not None
    assert diverse.head.classify.out_channels == 3
    plain = InteractiveNetwork(ARCHITECTURES["tiny"])
    assert plain.with_selected_mask(features_of(plain, 1)) is plain


@pytest.mark.parametrize("method", [method for method in Method if method is not Method.NONE])
def test_refinement_brings_the_selected_mask_to_the_clicks(diverse, method):
    generator = torch.Generator().manual_seed(3)
    inputs = EncoderInputs(*(torch.rand((1, c, 64, 64), generator=generator) for c in CHANNELS))
    features = diverse.encoder(inputs.image, inputs.clicks, inputs.previous)
    plain = refine(diverse, features, [], options=RefinementOptions(method), inputs=inputs)
    np.testing.assert_allclose(plain.probability, diverse.decode(features)[0][0, 0].sigmoid(), atol=1e-5)
    wrong = [Click(30, 20, positive=not bool(plain.probability[20, 30] > 0.5))]
    refined = refine(diverse, features, wrong, options=RefinementOptions(method), inputs=inputs)
    single = refine(diverse.with_selected_mask(features), features, wrong, options=RefinementOptions(method), inputs=inputs)
    assert np.array_equal(refined.probability, single.probability)
    if method not in {Method.BRS, Method.RGB_BRS}:  # random weights hardly hear the inputs
        assert refined.obeyed


def test_a_diverse_network_predicts_click_by_click(diverse):
    predictor = Predictor(diverse, TorchBackbone(diverse.encoder), 64)
    predictor.set_image(np.random.default_rng(0).integers(0, 255, (90, 110, 3), np.uint8))
    prediction = predictor.predict([Click(50, 40, positive=True)])
    prediction = predictor.predict(
        [Click(50, 40, positive=True), Click(54, 40, positive=False)], [prediction.mask], prediction.delta
    )
    assert prediction.clicks_obeyed


def ambiguous_crops(count: int) -> tuple[torch.Tensor, ...]:
    """Two nuclei and a click on one of them; every other target is both nuclei, the rest the clicked one alone."""
    images, maps, targets, clicks = [], [], [], []
    for seed in range(count):
        image, instances = draw_nuclei(32, 2, seed)
        y, x = np.argwhere(instances == 1).mean(0).round().astype(int).tolist()
        clicks.append([Click(x, y, positive=True)])
        images.append(network_input(image).transpose(2, 0, 1) / np.float32(255))
        maps.append(click_maps(clicks[-1], 32, 32))
        targets.append(instances > 0 if seed % 2 else instances == 1)
    planes, stacked, target = (torch.from_numpy(np.stack(arrays).astype(np.float32)) for arrays in (images, maps, targets))
    return planes, stacked, target, click_points(clicks, 32, 32)


def test_training_lowers_the_loss_and_the_masks_come_to_differ():
    torch.manual_seed(1)
    network = InteractiveNetwork(ARCHITECTURES["tiny"].with_masks(3))
    image, maps, target, points = ambiguous_crops(8)
    everywhere = torch.ones_like(target)
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-3)
    losses = []
    for _ in range(120):
        candidates = network.candidate_masks(image, maps, torch.zeros(8, 1, 32, 32))
        loss = total_loss(candidates, target, everywhere, points)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    masks = candidates.logits.detach().sigmoid()
    errors = jaccard_loss(masks, target, everywhere)
    assert losses[-1] < 0.5 * losses[0]
    assert min(float((masks[:, a] - masks[:, b]).abs().mean()) for a, b in ((0, 1), (0, 2), (1, 2))) > 0.01
    assert float(errors.amin(1).mean()) < float(errors.mean(0).amin()) - 0.005  # no mask is the best one everywhere
    chosen = errors.gather(1, candidates.scores.argmax(1, keepdim=True))
    assert float(chosen.mean()) < float(errors.mean())  # the selection network has learnt something


def test_a_diverse_network_is_trained_and_checked_like_any_other():
    profile = replace(PROFILES["tiny"], architecture=ARCHITECTURES["tiny"].with_masks(3), batch=2)
    image, instances = draw_nuclei(96, 6, 0)
    centres = [np.argwhere(instances == label).mean(0) for label in range(1, instances.max() + 1)]
    nuclei = [(label, float(x), float(y)) for label, (y, x) in enumerate(centres, 1)]
    sample = LoadedSample(image, instances, np.zeros(instances.shape, bool))
    trainer = Trainer(profile, seeded_network(profile, 0), 0)
    before = trainer.network.head.selection.score.weight.clone()
    assert all(np.isfinite(trainer.train_step([CropSource(sample, network_input(image), nuclei, 1.0)])) for _ in range(2))
    assert not torch.equal(trainer.network.head.selection.score.weight, before)
    files = pack(trainer.average)
    again = load_network(profile.architecture, files[WEIGHTS])
    load_backbone(again, files[BACKBONE], threads=1)
    features = features_of(again, 2)
    torch.testing.assert_close(again.decode(features), trainer.average.decode(features))
    assert PROFILES["diverse"].architecture.masks == 6


def test_proposals_of_one_mask_select_it():
    logits = torch.randn(2, 1, 4, 4)
    assert CandidateMasks(logits, logits, torch.zeros(2, 1)).selected() is logits

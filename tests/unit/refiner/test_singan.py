"""SinGAN harmonization: deterministic, resumable, confined to its region, and honest about masks."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from tests.unit.refiner.shapes import ellipse

from nucleate.errors import (
    Aborted,
    InvalidImage,
    InvalidInput,
    InvalidMask,
    InvalidModel,
    Precondition,
    SizeMismatch,
    UnknownProfile,
)
from nucleate.refiner.singan import pyramid, training
from nucleate.refiner.singan.harmonize import harmonize
from nucleate.refiner.singan.losses import gradient_penalty
from nucleate.refiner.singan.mask_verification import Decision, kept_masks
from nucleate.refiner.singan.model import WEIGHTS, derived_seed, drawn, from_tensors, new_model, rebuilt, to_tensors
from nucleate.refiner.singan.networks import FIELD, MARGIN, build_scale
from nucleate.refiner.singan.settings import PRESETS, Settings, settings_named
from nucleate.refiner.singan.training import train
from nucleate.refiner.singan.windows import soft_region, windows_around
from nucleate.synthesis.phantom.tissue import draw_tissue

TINY = PRESETS["tiny"]
SHORT = replace(TINY, steps=3)
CPU = torch.device("cpu")


def tissue(side=40):
    return np.ascontiguousarray(draw_tissue(3, 96)[0][:side, :side])


@pytest.fixture(scope="module")
def trained():
    losses = []
    torch.set_num_threads(1)
    model = train(tissue(), TINY, 7, on_step=lambda step, total, found: losses.append((step, total, found)))
    return model, losses


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


# Pyramid and networks


def test_the_papers_pyramid_of_250_pixels_has_ten_scales_from_25_up():
    sizes = pyramid.sizes((250, 250), PRESETS["full"])
    assert sizes[0] == (25, 25)
    assert sizes[-1] == (250, 250)
    ratios = [small[0] / large[0] for small, large in pairwise(sizes)]
    assert len(sizes) == 10
    assert all(0.72 < ratio < 0.79 for ratio in ratios)


@pytest.mark.parametrize("size", [(16, 16), (17, 40), (40, 23), (39, 31)])
def test_the_coarsest_shorter_side_is_smallest_and_the_finest_is_the_image(size):
    sizes = pyramid.sizes(size, TINY)
    assert min(sizes[0]) == TINY.smallest
    assert sizes[-1] == size
    assert sizes == sorted(sizes)


def test_a_pyramid_is_made_of_area_means():
    rgb = tissue()
    levels = pyramid.build(rgb, TINY)
    assert [tuple(level.shape[2:]) for level in levels] == pyramid.sizes((40, 40), TINY)
    assert torch.equal(levels[-1][0], torch.from_numpy(rgb.transpose(2, 0, 1)).float() / 127.5 - 1)
    halves = pyramid.shrink(rgb, (20, 20))
    assert torch.allclose(halves, torch.nn.functional.avg_pool2d(levels[-1], 2), atol=1e-5)
    assert all(torch.equal(a, b) for a, b in zip(levels, pyramid.build(rgb, TINY), strict=True))


def test_images_that_cannot_be_trained_on_are_named():
    with pytest.raises(InvalidImage, match="at least 16"):
        pyramid.build(tissue()[:15], TINY)
    with pytest.raises(InvalidImage, match="8-bit RGB"):
        pyramid.build(tissue().astype(np.float32), TINY)


def test_the_generator_is_size_independent():
    generator = build_scale(6, 1)[0].eval()
    random = torch.Generator().manual_seed(0)
    noise, previous = (torch.randn((1, 3, 37, 30), generator=random) for _ in range(2))
    whole = generator(noise, previous)
    part = generator(noise[..., 4:31, 3:29], previous[..., 4:31, 3:29])
    assert whole.shape == previous.shape
    inner = slice(MARGIN, -MARGIN)
    assert torch.allclose(part[..., inner, inner], whole[..., 4:31, 3:29][..., inner, inner], atol=1e-5)


def test_beyond_its_borders_an_image_goes_on_as_its_border_pixels():
    generator = build_scale(6, 1)[0].eval()
    half = torch.zeros((1, 3, 12, 30))
    half[..., 15:] = 1.0
    plain = generator(torch.zeros((1, 3, 12, 30)), torch.zeros((1, 3, 12, 30)))
    assert torch.allclose(generator(torch.zeros_like(half), half)[..., :10], plain[..., :10], atol=1e-6)


def test_one_score_sees_one_patch():
    _, discriminator = build_scale(4, 1)
    for i, layer in enumerate(discriminator.layers):
        if isinstance(layer, torch.nn.InstanceNorm2d):  # all that patches share
            discriminator.layers[i] = torch.nn.Identity()
    x = torch.randn((1, 3, FIELD + 2, FIELD + 2), generator=torch.Generator().manual_seed(0)).requires_grad_()
    scores = discriminator(x)
    assert scores.shape == (1, 1, 3, 3)
    scores[0, 0, 0, 0].backward()
    assert x.grad[0, :, FIELD:].abs().max() == 0
    assert x.grad[0, :, FIELD - 1].abs().max() > 0


def test_weights_depend_on_the_seed_and_leave_the_global_generator_alone():
    before = torch.random.get_rng_state()
    one, again, other = (build_scale(4, seed)[0].state_dict() for seed in (1, 1, 2))
    assert torch.equal(before, torch.random.get_rng_state())
    assert equal(one, again)
    assert not equal(one, other)


def test_the_gradient_penalty_of_a_linear_critic_is_its_closed_form():
    weights = torch.tensor([0.5, -2.0, 1.0], requires_grad=True)
    real, fake = torch.randn((2, 1, 3, 9, 8), generator=torch.Generator().manual_seed(0))
    penalty = gradient_penalty(lambda x: torch.einsum("bchw,c->bhw", x, weights), real, fake, torch.full((1, 1, 1, 1), 0.3))
    norm = 5.25**0.5
    assert penalty.item() == pytest.approx((norm - 1) ** 2, rel=1e-5)
    penalty.backward()
    expected = 2 * (norm - 1) / norm * weights.detach()
    assert torch.allclose(weights.grad, expected, rtol=1e-4)


def test_a_flat_critic_has_a_finite_gradient():
    weights = torch.zeros(3, requires_grad=True)
    x = torch.zeros((1, 3, 4, 4))
    gradient_penalty(lambda x: torch.einsum("bchw,c->bhw", x, weights), x, x, torch.zeros((1, 1, 1, 1))).backward()
    assert torch.isfinite(weights.grad).all()


def test_settings_are_checked_and_named():
    assert settings_named("full") == Settings()
    assert [Settings().channels_at(scale) for scale in (0, 3, 4, 8, 20)] == [32, 32, 64, 128, 128]
    with pytest.raises(UnknownProfile, match="tiny, full"):
        settings_named("huge")
    for wrong in ({"scale_factor": 1.0}, {"smallest": 10}, {"steps": 0}, {"rate": 0.0}, {"feather": -1}, {"largest": 20}):
        with pytest.raises(InvalidInput, match="SinGAN settings"):
            replace(Settings(), **wrong)


# Training


def test_training_lowers_the_reconstruction_error_of_the_finest_scale(trained):
    model, losses = trained
    error = (rebuilt(model) - pyramid.build(tissue(), TINY)[-1]).square().mean().sqrt().item()
    at_first = losses[40][2]["reconstruction"] ** 0.5  # measured before the first update of the last scale
    assert error < 0.9 * at_first
    assert [step for step, _, _ in losses] == list(range(1, 61))
    assert {total for _, total, _ in losses} == {60}
    assert set(losses[0][2]) == {"critic", "penalty", "adversarial", "reconstruction"}


def test_the_generator_learns_from_the_critic_alone_too():
    settings = replace(SHORT, alpha=0.0, largest=16)
    model = train(tissue(16), settings, 5)
    (moved,) = (generator.state_dict() for generator in model.generators)
    fresh = build_scale(settings.channels, derived_seed(5, WEIGHTS, 0))[0].state_dict()
    assert not any(torch.equal(moved[name], fresh[name]) for name in fresh if fresh[name].ndim == 4)


def test_noise_per_scale_follows_the_reconstruction_error(trained):
    model, _ = trained
    reals = pyramid.build(tissue(), TINY)
    part = from_tensors(
        {k: v for k, v in to_tensors(model).items() if k != "sigmas"} | {"sigmas": torch.tensor([1.0])}, TINY, CPU
    )
    error = (pyramid.enlarge(rebuilt(part), model.sizes[1]) - reals[1]).square().mean().sqrt().item()
    assert model.sigmas[0] == 1.0
    assert model.sigmas[1] == pytest.approx(TINY.noise_amplitude * error, rel=1e-6)


def test_a_stopped_training_goes_on_at_the_next_scale_to_the_same_bytes():
    before = torch.random.get_rng_state()
    whole = to_tensors(train(tissue(), SHORT, 5))
    assert torch.equal(before, torch.random.get_rng_state())
    kept = []

    def stop(step, total, losses):
        if step == 8:  # in the last of three scales
            raise InterruptedError

    with pytest.raises(InterruptedError):
        train(tissue(), SHORT, 5, on_step=stop, on_scale=lambda model: kept.append(to_tensors(model)))
    assert len(kept) == 2
    steps = []
    resumed = train(
        tissue(), SHORT, 5, model=from_tensors(kept[-1], SHORT, CPU), on_step=lambda step, total, losses: steps.append(step)
    )
    assert steps == [7, 8, 9]
    assert equal(to_tensors(resumed), whole)
    assert not equal(to_tensors(train(tissue(), replace(SHORT, steps=1), 6)), whole)


def test_a_model_of_another_training_is_refused(trained):
    model, _ = trained
    with pytest.raises(InvalidModel, match="another image size, settings or seed"):
        train(tissue(), TINY, 8, model=model)
    with pytest.raises(InvalidModel, match="other settings"):
        from_tensors(to_tensors(model), replace(TINY, channels=4), CPU)
    with pytest.raises(InvalidModel, match="another pyramid"):
        from_tensors(to_tensors(model), replace(TINY, smallest=20), CPU)
    tensors = to_tensors(model)
    del tensors["discriminator.layers.0.weight"]
    with pytest.raises(InvalidModel, match="damaged"):
        from_tensors(tensors, TINY, CPU)
    tensors = to_tensors(model)
    tensors["generator.0.layers.0.bias"][0] = float("nan")
    with pytest.raises(InvalidModel, match="not finite"):
        from_tensors(tensors, TINY, CPU)


def test_a_training_that_diverges_says_where():
    with pytest.raises(Aborted, match=r"diverged at step \d+ of 9 \(scale \d of 3\).*lower rate"):
        train(tissue(), replace(SHORT, rate=1e30), 5)


def test_a_scale_that_saturates_is_not_passed_on():
    kept = []

    def saturate(step, total, losses):
        if step == 6:
            for layer in caught:
                layer.bias.fill_(20.0)

    caught = []
    original = training.build_scale

    def build(channels, seed):
        generator, discriminator = original(channels, seed)
        caught[:] = [generator.requires_grad_(requires_grad=True).layers[-1]]
        caught[0].bias.requires_grad_(requires_grad=False)
        return generator, discriminator

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "build_scale", build)
        with pytest.raises(Aborted, match="collapsed at scale 2 of 3"):
            train(tissue(), SHORT, 5, on_step=saturate, on_scale=kept.append)
    assert len(kept) == 1


def test_a_larger_image_gives_its_middle_unshrunk():
    rgb = tissue(64)
    assert np.array_equal(pyramid.training_crop(rgb, TINY), rgb[12:52, 12:52])
    assert np.array_equal(pyramid.training_crop(rgb[:30], TINY), rgb[:30, 12:52])


def test_draws_differ_by_their_generator_only(trained):
    model, _ = trained
    one, again, other = (drawn(model, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert one.shape == (1, 3, 40, 40)
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


# Harmonization


def naive_composite(side):
    rgb = tissue(side)
    region = ellipse((side, side), (side // 2, side // 2), (6, 4), 30)
    rgb[region] = (60, 40, 110)
    return rgb, region


@pytest.mark.parametrize("side", [40, 90])
def test_harmonization_changes_the_region_and_nothing_beyond_its_feather(trained, side):
    model, _ = trained
    naive, region = naive_composite(side)
    given = naive.copy()
    result = harmonize(model, naive, region)
    assert result.dtype == np.uint8
    assert np.array_equal(naive, given)
    weight = soft_region(region, TINY.dilation, TINY.feather)
    assert np.array_equal(result[weight == 0], naive[weight == 0])
    assert (result[region] != naive[region]).mean() > 0.5
    assert np.array_equal(result, harmonize(model, naive, region))
    assert not np.array_equal(result, harmonize(model, naive, region, seed=1))
    assert np.array_equal(harmonize(model, naive, np.zeros_like(region)), naive)


def test_a_composite_enters_at_the_scale_below_the_first_generator(trained):
    """Generators that add nothing leave its shrunken form, enlarged again."""
    model = from_tensors(to_tensors(trained[0]), TINY, CPU)
    for generator in model.generators:
        torch.nn.init.zeros_(generator.layers[-1].weight)
        torch.nn.init.zeros_(generator.layers[-1].bias)
    naive, region = naive_composite(40)
    for inject, sizes in ((0, ((25, 25), (40, 40))), (1, ((16, 16), (25, 25), (40, 40)))):
        expected = pyramid.shrink(naive, sizes[0])
        for size in sizes[1:]:
            expected = pyramid.enlarge(expected, size)
        levels = ((expected[0].permute(1, 2, 0).numpy() + 1) * 127.5).round()
        found = harmonize(model, naive, region, inject_scale=inject)
        assert np.abs(found[region] - levels[region]).max() <= 1


def test_a_window_shows_what_the_whole_image_would(trained):
    """Far from its borders a window's pixels do not depend on where it was cut, but for the phase of the resampling."""
    model, _ = trained
    wide = replace(TINY, largest=90)
    naive, region = naive_composite(90)
    whole = harmonize(replace_settings(model, wide), naive, region).astype(int)
    cut = harmonize(model, naive, region).astype(int)
    near = soft_region(region, TINY.dilation, TINY.feather) > 0
    assert np.abs(whole - cut)[near].mean() < 0.25 * np.abs(whole - naive)[near].mean()


def replace_settings(model, settings):
    return replace(model, settings=settings)


def test_harmonization_refuses_what_does_not_fit(trained):
    model, _ = trained
    naive, region = naive_composite(40)
    with pytest.raises(SizeMismatch):
        harmonize(model, naive, region[1:])
    with pytest.raises(InvalidMask):
        harmonize(model, naive, region.astype(np.uint8))
    with pytest.raises(InvalidImage):
        harmonize(model, naive[..., 0], region)
    with pytest.raises(InvalidInput, match="between 0 and 1"):
        harmonize(model, naive, region, inject_scale=2)
    with pytest.raises(Precondition, match="0 of 3 scales"):
        harmonize(new_model((40, 40), TINY, 1, CPU), naive, region)


def test_the_region_fades_to_exactly_zero():
    region = np.zeros((1, 20), bool)
    region[0, 3] = True
    weight = soft_region(region, 2, 3)[0]
    assert weight[3:13].tolist() == pytest.approx([1, 1, 1, 0.75, 0.5, 0.25, 0, 0, 0, 0])
    assert not soft_region(np.zeros((4, 4), bool), 2, 3).any()


def test_cores_cover_all_parts_and_cut_none_that_fits():
    touched = np.zeros((300, 500), bool)
    parts = [(slice(0, 9), slice(0, 9)), (slice(100, 120), slice(95, 130)), (slice(290, 300), slice(480, 500))]
    for part in [*parts, (slice(200, 210), slice(20, 400))]:
        touched[part] = True
    windows = windows_around(touched, 100, 20)
    covered = np.zeros_like(touched)
    for window in windows:
        covered[window.core] = True
        for core, outer, length in zip(window.core, window.outer, touched.shape, strict=True):
            assert outer.stop - outer.start == 100
            assert core.start - outer.start == (20 if outer.start > 0 else 0)
            assert outer.stop - core.stop == (20 if outer.stop < length else 0)
    assert covered[touched].all()
    assert all(any(window.holds(part) for window in windows) for part in parts)
    assert len(windows_around(touched, 500, 20)) == 1


def test_a_dark_ellipse_on_drawn_tissue_is_blended_and_its_pair_stays_true(trained):
    model, _ = trained
    rgb, instances = draw_tissue(5, 96)
    pasted = ellipse(instances.shape, (48, 40), (9, 6), 20) & (instances == 0)
    naive, label = rgb.copy(), int(instances.max()) + 1
    naive[pasted] = (60, 40, 110)
    instances = np.where(pasted, label, instances)
    after = harmonize(model, naive, pasted, inject_scale=0)
    outcome = kept_masks(naive, after, instances, [label])
    others = (instances > 0) & ~pasted
    assert np.array_equal(outcome.instances[others], instances[others])
    (verdict,) = outcome.verdicts
    found = outcome.instances == label
    iou = (found & pasted).sum() / (found | pasted).sum()
    assert iou == pytest.approx(verdict.iou if verdict.decision is Decision.REESTIMATED else 1.0)
    shown = naive if verdict.decision is Decision.REJECTED else after
    assert np.array_equal(outcome.image[pasted], shown[pasted])

"""SinGAN harmonization: confined to its region, and its masks verified."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.unit.refiner.shapes import ellipse
from tests.unit.refiner.singan_models import CPU, TINY, tissue

from nucleate.errors import (
    InvalidImage,
    InvalidInput,
    InvalidMask,
    Precondition,
    SizeMismatch,
)
from nucleate.refiner.singan import pyramid
from nucleate.refiner.singan.harmonize import harmonize
from nucleate.refiner.singan.mask_verification import Decision, verify_masks
from nucleate.refiner.singan.model import from_tensors, new_model, to_tensors
from nucleate.refiner.singan.windows import feathered_region
from nucleate.synthesis.phantom.tissue import draw_tissue


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
    weight = feathered_region(region, TINY.dilation, TINY.feather)
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
    near = feathered_region(region, TINY.dilation, TINY.feather) > 0
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


def test_a_dark_ellipse_on_drawn_tissue_is_blended_and_its_pair_stays_true(trained):
    model, _ = trained
    rgb, instances = draw_tissue(5, 96)
    pasted = ellipse(instances.shape, (48, 40), (9, 6), 20) & (instances == 0)
    naive, label = rgb.copy(), int(instances.max()) + 1
    naive[pasted] = (60, 40, 110)
    instances = np.where(pasted, label, instances)
    after = harmonize(model, naive, pasted, inject_scale=0)
    outcome = verify_masks(naive, after, instances, [label])
    others = (instances > 0) & ~pasted
    assert np.array_equal(outcome.instances[others], instances[others])
    (verdict,) = outcome.nuclei
    found = outcome.instances == label
    iou = (found & pasted).sum() / (found | pasted).sum()
    assert iou == pytest.approx(verdict.iou if verdict.decision is Decision.REESTIMATED else 1.0)
    shown = naive if verdict.decision is Decision.REJECTED else after
    assert np.array_equal(outcome.image[pasted], shown[pasted])

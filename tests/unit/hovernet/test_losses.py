"""The losses against their formulas, and what ignored pixels may not do."""

from __future__ import annotations

import pytest
import torch

from nucleate.hovernet.networks.hovernet import Maps
from nucleate.hovernet.training.losses import LossWeights, cross_entropy, dice, hv_mse, hv_msge, losses, total

torch.manual_seed(0)
LOGITS, HV = torch.randn(2, 2, 12, 12), torch.randn(2, 2, 12, 12)
NUCLEI, TARGET = torch.randint(0, 2, (2, 12, 12)), torch.rand(2, 2, 12, 12) * 2 - 1
ONES = torch.ones(2, 12, 12)


def test_np_losses_are_equations_4_and_5():
    p = LOGITS.softmax(1)
    chosen = p.gather(1, NUCLEI.unsqueeze(1)).squeeze(1)
    assert torch.isclose(cross_entropy(LOGITS, NUCLEI, ONES), -chosen.log().mean())
    expected = 0.0
    for k in (0, 1):
        truth = (k == NUCLEI).float()
        expected += 1 - (2 * (p[:, k] * truth).sum() + 1e-3) / (p[:, k].sum() + truth.sum() + 1e-3)
    assert torch.isclose(dice(LOGITS, NUCLEI, ONES), expected)


def test_hv_losses_are_equations_2_and_3():
    assert torch.isclose(hv_mse(HV, TARGET, ONES), (HV - TARGET).square().mean())
    assert hv_msge(HV, HV, ONES) == 0
    # A ramp of slope s along x has horizontal gradient s * sum(h^2 / (h^2 + v^2)); the vertical map is left alone.
    ramp = torch.zeros(1, 2, 12, 12)
    ramp[:, 0] = 0.1 * torch.arange(12.0)
    kernel_sum = sum(h * h / (h * h + v * v) for h in range(-2, 3) for v in range(-2, 3) if (h, v) != (0, 0))
    inside = torch.zeros(1, 12, 12)
    inside[:, 4:8, 4:8] = 1
    assert hv_msge(ramp, torch.zeros_like(ramp), inside).item() == pytest.approx((0.1 * kernel_sum) ** 2 / 2, rel=1e-5)


def test_ignored_pixels_change_neither_value_nor_gradient():
    weight = ONES.clone()
    weight[:, :, 6:] = 0
    other_logits, other_hv = LOGITS.clone(), HV.clone()
    other_logits[..., 6:] = 37.0
    other_hv[..., 6:] = -5.0
    here = losses(Maps(LOGITS, HV), NUCLEI, TARGET, weight)
    there = losses(Maps(other_logits, other_hv), NUCLEI, TARGET, weight)
    assert all(torch.isclose(here[name], there[name]) for name in here)
    leaves = [values.clone().requires_grad_() for values in (LOGITS, HV)]
    total(losses(Maps(*leaves), NUCLEI, TARGET, weight), LossWeights()).backward()
    for leaf in leaves:
        assert not leaf.grad[..., 6:].any()
        assert leaf.grad[..., :6].any()


def test_all_ignored_and_no_nucleus_are_finite():
    for nuclei, weight in ((NUCLEI, 0 * ONES), (0 * NUCLEI, ONES)):
        terms = losses(Maps(LOGITS, HV), nuclei, TARGET, weight)
        assert torch.isfinite(total(terms, LossWeights()))


def test_six_losses_with_types():
    logits = torch.randn(2, 4, 12, 12)
    terms = losses(Maps(LOGITS, HV, logits), NUCLEI * torch.randint(2, 5, (2, 12, 12)), TARGET, ONES)
    assert sorted(terms) == ["hv_mse", "hv_msge", "nc_ce", "nc_dice", "np_bce", "np_dice"]
    assert torch.isclose(total(terms, LossWeights(hv_mse=2.0)), sum(terms.values()) + terms["hv_mse"])


def test_a_nucleus_of_unknown_class_teaches_no_type():
    logits = torch.randn(2, 4, 12, 12, requires_grad=True)
    terms = losses(Maps(LOGITS, HV, logits), NUCLEI, TARGET, ONES)
    (terms["nc_ce"] + terms["nc_dice"]).backward()
    moved = logits.grad.abs().sum(1) > 0
    assert torch.equal(moved, NUCLEI == 0)

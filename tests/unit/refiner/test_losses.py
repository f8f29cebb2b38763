"""L_D and L_R against the report's formulas, with D = P(SYNTHETIC)."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nucleate.refiner.training.losses import (
    accuracy,
    adversarial_loss,
    discriminator_loss,
    edge_regularization,
    gradient_penalty,
    self_regularization,
)

logits = st.lists(st.floats(-8, 8), min_size=1, max_size=8).map(lambda z: torch.tensor(z, dtype=torch.float64))


@given(logits, logits)
def test_losses_are_the_reports_formulas(z_fake, z_real):
    fake, real = torch.sigmoid(z_fake), torch.sigmoid(z_real)  # D(x~) and D(y): probability of being synthetic
    assert torch.isclose(discriminator_loss(z_fake, z_real), -fake.log().mean() - (1 - real).log().mean())
    assert torch.isclose(adversarial_loss(z_fake), -(1 - fake).log().mean())


def test_signs_d_calls_refined_synthetic_and_r_wants_to_be_called_real():
    z_fake = torch.zeros(3, requires_grad=True)
    z_real = torch.zeros(3, requires_grad=True)
    discriminator_loss(z_fake, z_real).backward()
    assert (z_fake.grad < 0).all()  # descending raises z on refined images: towards "synthetic"
    assert (z_real.grad > 0).all()
    z_refined = torch.zeros(3, requires_grad=True)
    adversarial_loss(z_refined).backward()
    assert (z_refined.grad > 0).all()  # descending lowers it: towards "real"


def test_accuracy_weighs_both_sides_alike():
    assert accuracy(torch.tensor([1.0, 1.0]), torch.tensor([-1.0])) == 1.0
    assert accuracy(torch.tensor([-1.0]), torch.tensor([-1.0] * 9)) == 0.5


def test_self_regularization_is_a_mean_per_pixel():
    x = torch.zeros(2, 3, 8, 8)
    assert self_regularization(x + 0.25, x) == 0.25


def test_edge_regularization_lets_colour_change_but_not_edges_in_the_band():
    x = torch.rand(1, 3, 8, 8)
    band = torch.zeros(1, 1, 8, 8)
    band[..., 3:6, 3:6] = 1
    assert edge_regularization(x + 0.1, x, band) < 1e-6
    moved = x.clone()
    moved[..., 4, 4] += 0.5
    assert edge_regularization(moved, x, band) > 0.01
    assert edge_regularization(moved, x, torch.zeros_like(band)) == 0


def test_the_gradient_transform_sees_edges_and_not_colour():
    x = torch.rand(2, 3, 16, 16)
    assert float(self_regularization(x + 0.3, x, "gradient")) < 1e-6
    ramp = torch.linspace(0, 15, 16).expand(2, 3, 16, 16)
    assert self_regularization(x + ramp, x, "gradient").item() == pytest.approx(0.5, abs=1e-5)


def test_the_gradient_penalty_of_a_linear_critic_is_its_closed_form():
    slope = torch.rand(3, 8, 8)
    y = torch.rand(4, 3, 8, 8, requires_grad=True)
    z = (y * slope).sum(dim=(1, 2, 3)).view(4, 1, 1, 1)
    assert gradient_penalty(z, y).item() == pytest.approx(float(slope.square().sum()), rel=1e-5)
    spread = z.expand(4, 1, 5, 5)  # the mean over patches, not their sum
    assert gradient_penalty(spread, y).item() == pytest.approx(float(slope.square().sum()), rel=1e-5)

"""Losses of one scale: WGAN-GP (Gulrajani et al., arXiv 1704.00028) and the paper's reconstruction error."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def gradient_penalty(critic: Callable[[Tensor], Tensor], real_B3HW: Tensor, fake_B3HW: Tensor, mix_B111: Tensor) -> Tensor:
    """Mean over pixels of (|∇ critic| - 1)^2 at real * mix + fake * (1 - mix), mix on [0, 1]; a scalar with gradients.

    The norm is taken over the three channels of a pixel, of the gradient of the sum of all patch scores. The norm of the whole
    image's gradient would ask for steeper critics at finer scales, so that one weight could not serve the whole pyramid.
    """
    mixed_B3HW = (mix_B111 * real_B3HW + (1 - mix_B111) * fake_B3HW).detach().requires_grad_()
    (slope_B3HW,) = torch.autograd.grad(critic(mixed_B3HW).sum(), mixed_B3HW, create_graph=True)
    # The norm of a zero gradient has no gradient of its own; the smallest of shifts gives it one.
    norm_BHW = (slope_B3HW.square().sum(dim=1) + 1e-12).sqrt()
    return (norm_BHW - 1).square().mean()


def critic_loss(score_real: Tensor, score_fake: Tensor) -> Tensor:
    """Wasserstein estimate with its sign turned: falls as the critic tells real from drawn patches; scalar."""
    return score_fake.mean() - score_real.mean()


def adversarial_loss(score_fake: Tensor) -> Tensor:
    """Falls as drawn patches look real to the critic; scalar."""
    return -score_fake.mean()


def reconstruction_loss(rebuilt_B3HW: Tensor, real_B3HW: Tensor) -> Tensor:
    """Mean square error of the image that the noise z* must give; scalar."""
    return F.mse_loss(rebuilt_B3HW, real_B3HW)

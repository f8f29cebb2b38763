"""The two losses of report section 3.2.1.

The report's D_ψ is P(SYNTHETIC), the opposite of most GAN code. With the logit z, D = sigmoid(z):

    L_D = -Σ log D(x~) - Σ log(1 - D(y))        = softplus(-z_fake) + softplus(z_real)
    L_R = -Σ log(1 - D(R(x))) + λ |R(x) - x|_1   = softplus(z_fake) + λ |R(x) - x|_1

Sums are taken as means over patches and pixels, so that λ does not change its meaning with the size of the crop.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def discriminator_loss(z_fake: Tensor, z_real: Tensor) -> Tensor:
    """L_D of logits of P(synthetic) on refined (x~) and real (y) patches; scalar."""
    return F.softplus(-z_fake).mean() + F.softplus(z_real).mean()


def adversarial_loss(z_fake: Tensor) -> Tensor:
    """First term of L_R: small where D takes refined patches for real; scalar."""
    return F.softplus(z_fake).mean()


def self_regularization(refined_BCHW: Tensor, x_BCHW: Tensor) -> Tensor:
    """Second term of L_R without its λ: mean absolute change; scalar."""
    return (refined_BCHW - x_BCHW).abs().mean()


def edge_regularization(refined_BCHW: Tensor, x_BCHW: Tensor, band_B1HW: Tensor) -> Tensor:
    """The same term under ψ = image gradient (section 2.2), over the band around nuclear contours only; scalar.

    Colour may change there, the place of the edge may not. 0 where the crop holds no contour.
    """
    change_BCHW = refined_BCHW - x_BCHW
    down = (change_BCHW[..., 1:, :] - change_BCHW[..., :-1, :]).abs().mean(dim=1, keepdim=True)
    right = (change_BCHW[..., :, 1:] - change_BCHW[..., :, :-1]).abs().mean(dim=1, keepdim=True)
    total = (down * band_B1HW[..., 1:, :]).sum() + (right * band_B1HW[..., :, 1:]).sum()
    return total / (2.0 * band_B1HW.sum()).clamp_min(1.0)


def accuracy(z_fake: Tensor, z_real: Tensor) -> float:
    """Fraction of patches D calls right, both sides weighted alike: .5 = fooled, 1 = R is seen through."""
    return float(((z_fake > 0).float().mean() + (z_real < 0).float().mean()) / 2)

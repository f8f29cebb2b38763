"""The two losses of report section 3.2.1.

The report's D_ψ is P(SYNTHETIC), the opposite of most GAN code. With the logit z, D = sigmoid(z):

    L_D = -Σ log D(x~) - Σ log(1 - D(y))        = softplus(-z_fake) + softplus(z_real)
    L_R = -Σ log(1 - D(R(x))) + λ |R(x) - x|_1   = softplus(z_fake) + λ |R(x) - x|_1

Sums are taken as means over patches and pixels, so that λ does not change its meaning with the size of the crop.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from nucleate.refiner.profiles import Psi


def discriminator_loss(z_fake: Tensor, z_real: Tensor) -> Tensor:
    """L_D of logits of P(synthetic) on refined (x~) and real (y) patches; scalar."""
    return F.softplus(-z_fake).mean() + F.softplus(z_real).mean()


def adversarial_loss(z_fake: Tensor) -> Tensor:
    """First term of L_R: small where D takes refined patches for real; scalar."""
    return F.softplus(z_fake).mean()


def self_regularization(refined_BCHW: Tensor, x_BCHW: Tensor, psi: Psi = "identity") -> Tensor:
    """Second term of L_R without its λ: |ψ(R(x)) - ψ(x)| as a mean; scalar.

    ψ is the identity, as the report has it, or the image gradient (differences of neighbours, down and to the right).
    """
    change_BCHW = refined_BCHW - x_BCHW
    if psi == "identity":
        return change_BCHW.abs().mean()
    return 0.5 * sum((change_BCHW.diff(dim=axis).abs().mean() for axis in (2, 3)), start=change_BCHW.new_zeros(()))


def gradient_penalty(z_B1hw: Tensor, y_B3HW: Tensor) -> Tensor:
    """R1 without its γ/2: squared gradient, at real images, of each one's mean logit; mean over images, scalar.

    Mescheder et al., "Which training methods for GANs do actually converge?", ICML 2018, equation 9. `y_B3HW` must require
    gradients, and `z_B1hw` come of it.
    """
    (slope_B3HW,) = torch.autograd.grad(z_B1hw.mean(dim=(1, 2, 3)).sum(), y_B3HW, create_graph=True)
    return slope_B3HW.square().sum(dim=(1, 2, 3)).mean()


def task_loss(logits_B1HW: Tensor, mask_B1HW: Tensor) -> Tensor:
    """Cross-entropy of a segmenter that finds nuclei in refined images; scalar.

    L_hard of Hou et al. (CVPR 2019; report section 2.2) is minus this: refined images should be hard to segment.
    """
    return F.binary_cross_entropy_with_logits(logits_B1HW, mask_B1HW)


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

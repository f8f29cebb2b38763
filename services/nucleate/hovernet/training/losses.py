"""The losses of HoVer-Net (Graham et al. 2019, equations 1-6; project report, section 2.5), with pixel weights everywhere.

`weight_BHW` is 0 where a pixel is ignored (outside the image, unsure pseudo-label) and the sample's weight elsewhere. Every
loss is a weighted mean, so that ignored pixels change neither value nor gradient; the gradient error, which looks at 5 x 5
pixels, counts only where none of them is ignored.
"""

from __future__ import annotations

import dataclasses
import functools

import torch
from torch import Tensor
from torch.nn import functional as F

from nucleate.hovernet.networks.hovernet import Maps

_DICE_SMOOTH = 1e-3


@dataclasses.dataclass(frozen=True)
class LossWeights:
    """λ of equation 1: HV mean squared error, HV gradient error, NP cross-entropy and Dice, type cross-entropy and Dice.

    Those of the pretext are `masked_pretraining.losses`.
    """

    hv_mse: float = 2.0
    hv_msge: float = 1.0
    np_bce: float = 1.0
    np_dice: float = 1.0
    nc_ce: float = 1.0
    nc_dice: float = 1.0
    pretext_planes: float = 1.0
    pretext_slopes: float = 1.0


def losses(maps: Maps, nuclei_BHW: Tensor, hv_B2HW: Tensor, weight_BHW: Tensor) -> dict[str, Tensor]:
    """The unweighted terms by name: four, or six for a network with types.

    `nuclei_BHW` is 0 in the background, 1 in a nucleus of unknown class, which the terms of types leave out, and 1 + k in one
    of class k.
    """
    nuclei = (nuclei_BHW > 0).long()
    terms = {
        "np_bce": cross_entropy(maps.np, nuclei, weight_BHW),
        "np_dice": dice(maps.np, nuclei, weight_BHW),
        "hv_mse": hv_mse(maps.hv, hv_B2HW, weight_BHW),
        "hv_msge": hv_msge(maps.hv, hv_B2HW, _surely_counted(weight_BHW) * nuclei),
    }
    if maps.types is not None:
        types, known = (nuclei_BHW.long() - 1).clamp_min(0), weight_BHW * (nuclei_BHW != 1)
        terms["nc_ce"] = cross_entropy(maps.types, types, known)
        terms["nc_dice"] = dice(maps.types, types, known)
    return terms


def total(terms: dict[str, Tensor], weights: LossWeights) -> Tensor:
    """Equation 1: the weighted sum of the terms that are present."""
    return torch.stack([getattr(weights, name) * term for name, term in terms.items()]).sum()


def cross_entropy(logits_BCHW: Tensor, target_BHW: Tensor, weight_BHW: Tensor) -> Tensor:
    """Equation 4: cross-entropy of the class softmax, weighted mean over pixels."""
    loss = F.cross_entropy(logits_BCHW, target_BHW, reduction="none")
    return _mean(loss, weight_BHW)


def dice(logits_BCHW: Tensor, target_BHW: Tensor, weight_BHW: Tensor) -> Tensor:
    """Equation 5: one minus Dice over the whole batch, summed over the classes (smoothing 1e-3)."""
    weight = weight_BHW.unsqueeze(1)
    probability = logits_BCHW.softmax(1)
    target = F.one_hot(target_BHW, logits_BCHW.shape[1]).permute(0, 3, 1, 2).to(probability.dtype)
    axes = (0, 2, 3)
    overlap = (probability * target * weight).sum(axes)
    size = (probability * weight).sum(axes) + (target * weight).sum(axes)
    return (1.0 - (2.0 * overlap + _DICE_SMOOTH) / (size + _DICE_SMOOTH)).sum()


def hv_mse(predicted_B2HW: Tensor, target_B2HW: Tensor, weight_BHW: Tensor) -> Tensor:
    """Equation 2: mean squared error of the distances over all pixels and both directions."""
    return _mean((predicted_B2HW - target_B2HW).square().mean(1), weight_BHW)


def hv_msge(predicted_B2HW: Tensor, target_B2HW: Tensor, focus_BHW: Tensor) -> Tensor:
    """Equation 3: mean squared error of the distances' gradients inside nuclei; zero when no nucleus is in view."""
    error = _gradients(predicted_B2HW - target_B2HW).square().mean(1)
    return _mean(error, focus_BHW)


def _surely_counted(weight_BHW: Tensor) -> Tensor:
    """The weights, 0 also where the gradient kernel would reach an ignored pixel."""
    ignored = (weight_BHW == 0).to(weight_BHW.dtype)
    reached = F.max_pool2d(ignored.unsqueeze(1), 5, stride=1, padding=2).squeeze(1)
    return weight_BHW * (1.0 - reached)


def _mean(value_BHW: Tensor, weight_BHW: Tensor) -> Tensor:
    return (value_BHW * weight_BHW).sum() / weight_BHW.sum().clamp_min(1.0)


@functools.cache
def _kernel() -> Tensor:
    """The 5x5 gradient kernel h / (h^2 + v^2) for both directions, one group each, 2155."""
    axis = torch.arange(-2.0, 3.0)
    vertical, horizontal = torch.meshgrid(axis, axis, indexing="ij")
    square = horizontal.square() + vertical.square()
    square[2, 2] = 1.0
    return torch.stack([horizontal / square, vertical / square]).unsqueeze(1)


def _gradients(hv_B2HW: Tensor) -> Tensor:
    """Horizontal gradient of the horizontal map and vertical gradient of the vertical map, B2HW."""
    kernel = _kernel().to(hv_B2HW)
    return F.conv2d(hv_B2HW, kernel, padding=2, groups=2)

"""Training losses of the interactive network."""

from __future__ import annotations

from enum import StrEnum

import torch
import torch.nn.functional as F
from torch import Tensor

ALPHA = 0.5
GAMMA = 2.0
AUXILIARY_WEIGHT = 0.4


class PixelLoss(StrEnum):
    """What is summed over pixels."""

    FOCAL = "focal"  # normalised focal loss
    BCE = "bce"  # binary cross-entropy


def normalised_focal_loss(logits_BHW: Tensor, target_BHW: Tensor, valid_BHW: Tensor) -> Tensor:
    """Focal loss whose weights (1 - p_t)^gamma are divided by their mean over the crop (Sofiiuk et al. 2019, AdaptIS).

    Unlike the plain focal loss its gradient does not fade as the network gets sure of most pixels.

    Args:
        logits_BHW: nucleus logits.
        target_BHW: 0 or 1.
        valid_BHW: 0 or 1; pixels at 0 are ignored.
    """
    log_p_BHW = -F.binary_cross_entropy_with_logits(logits_BHW, target_BHW, reduction="none")
    focal_BHW = (1 - log_p_BHW.detach().exp()).pow(GAMMA) * valid_BHW
    count_B11 = valid_BHW.sum((1, 2), keepdim=True).clamp_min(1)
    scale_B11 = count_B11 / focal_BHW.sum((1, 2), keepdim=True).clamp_min(1e-6)
    # Where nearly everything is right the scale would blow rounding up; it stays a weighted mean up to this bound.
    weighted_BHW = focal_BHW * scale_B11.clamp_max(1e4)
    balance_BHW = torch.where(target_BHW > 0.5, ALPHA, 1 - ALPHA)
    return -(balance_BHW * weighted_BHW * log_p_BHW / count_B11).sum((1, 2)).mean()


def cross_entropy_loss(logits_BHW: Tensor, target_BHW: Tensor, valid_BHW: Tensor) -> Tensor:
    """Binary cross-entropy, its mean over the valid pixels of each crop; arguments as of `normalised_focal_loss`."""
    error_BHW = F.binary_cross_entropy_with_logits(logits_BHW, target_BHW, reduction="none") * valid_BHW
    return (error_BHW.sum((1, 2)) / valid_BHW.sum((1, 2)).clamp_min(1)).mean()


def soft_iou_loss(logits_BHW: Tensor, target_BHW: Tensor, valid_BHW: Tensor) -> Tensor:
    """1 - sum p t / sum (p + t - p t) per crop, over the valid pixels: soft intersection over union (Rahman and Wang 2016).

    What is measured, so that a small nucleus weighs as much as a large one.
    """
    p_BHW, t_BHW = torch.sigmoid(logits_BHW) * valid_BHW, target_BHW * valid_BHW
    common_B = (p_BHW * t_BHW).sum((1, 2))
    either_B = (p_BHW + t_BHW).sum((1, 2)) - common_B
    return (1 - (common_B + 1) / (either_B + 1)).mean()


def auxiliary_loss(auxiliary_B2HW: Tensor, target_BHW: Tensor, valid_BHW: Tensor) -> Tensor:
    """Binary cross-entropy of the coarse class maps at stride 4 against the share of nucleus in each cell."""
    share_BHW = F.avg_pool2d(target_BHW[:, None], 4)[:, 0]
    weight_BHW = F.avg_pool2d(valid_BHW[:, None], 4)[:, 0]
    logits_BHW = auxiliary_B2HW[:, 0] - auxiliary_B2HW[:, 1]
    error_BHW = F.binary_cross_entropy_with_logits(logits_BHW, share_BHW, reduction="none")
    return (error_BHW * weight_BHW).sum() / weight_BHW.sum().clamp_min(1)


def total_loss(
    logits_B1HW: Tensor,
    auxiliary_B2HW: Tensor,
    target_BHW: Tensor,
    valid_BHW: Tensor,
    *,
    pixel_loss: PixelLoss = PixelLoss.FOCAL,
    iou_weight: float = 1.0,
) -> Tensor:
    """The pixel loss, the overlap loss and 0.4 times the auxiliary loss."""
    per_pixel = normalised_focal_loss if pixel_loss is PixelLoss.FOCAL else cross_entropy_loss
    main = per_pixel(logits_B1HW[:, 0], target_BHW, valid_BHW)
    overlap = soft_iou_loss(logits_B1HW[:, 0], target_BHW, valid_BHW)
    return main + iou_weight * overlap + AUXILIARY_WEIGHT * auxiliary_loss(auxiliary_B2HW, target_BHW, valid_BHW)

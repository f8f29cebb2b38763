"""Losses of the latent-diversity head (Li, Chen & Koltun 2018; report section 2.1).

Sums over the samples i are means over the batch here, so that the learning rate does not depend on its size.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from nucleate.interactive.clicks import Click
from nucleate.interactive.networks.latent_diversity import CandidateMasks
from nucleate.interactive.training.losses import AUXILIARY_WEIGHT, auxiliary_loss

# Of the published training code, which adds a share of every mask's loss. Without it (0, the report's formula) a mask that is
# never the best one is never trained.
RANK_WEIGHT = 0.0025


def jaccard_loss(masks_BMHW: Tensor, target_BHW: Tensor, valid_BHW: Tensor) -> Tensor:
    """l(A, B) = 1 - sum min(A, B) / sum max(A, B) per mask, B x M; 0 where both are empty.

    Args:
        masks_BMHW: nucleus probability in 0..1.
        target_BHW: 0 or 1.
        valid_BHW: 0 or 1; pixels at 0 are ignored.
    """
    valid_B1HW, target_B1HW = valid_BHW[:, None], target_BHW[:, None]
    largest_BM = (torch.maximum(masks_BMHW, target_B1HW) * valid_B1HW).sum((2, 3))
    # max - min = |A - B|, so this is the same fraction, and exact for two empty masks.
    return ((masks_BMHW - target_B1HW).abs() * valid_B1HW).sum((2, 3)) / largest_BM.clamp_min(1e-6)


def constraint_loss(masks_BMHW: Tensor, clicks_B2HW: Tensor) -> Tensor:
    """l_c = |S_p * (S_p - B)|_1 + |S_n * (S_n - (1 - B))|_1 per mask, B x M; see `click_points` for S_p and S_n."""
    positive_B1HW, negative_B1HW = clicks_B2HW[:, :1], clicks_B2HW[:, 1:]
    missed_BM = (positive_B1HW * (positive_B1HW - masks_BMHW)).abs().sum((2, 3))
    wrong_BM = (negative_B1HW * (negative_B1HW - (1 - masks_BMHW))).abs().sum((2, 3))
    return missed_BM + wrong_BM


def hindsight_loss(losses_BM: Tensor, rank_weight: float = 0.0) -> Tensor:
    """L_f: the loss of each sample's best mask, plus `rank_weight` * sum_m 2^(M - m) * the loss of mask m, m = 1..M."""
    count = losses_BM.shape[1]
    ranks_M = 2.0 ** torch.arange(count - 1, -1, -1, device=losses_BM.device)
    return (losses_BM.amin(1) + rank_weight * (ranks_M * losses_BM).sum(1)).mean()


def selection_loss(scores_BM: Tensor, losses_BM: Tensor) -> Tensor:
    """L_g = -g_phi(Z) + log sum_m exp g_m(Z), phi being the mask of the least loss."""
    return F.cross_entropy(scores_BM, losses_BM.detach().argmin(1))


def total_loss(
    candidates: CandidateMasks, target_BHW: Tensor, valid_BHW: Tensor, clicks_B2HW: Tensor, rank_weight: float = RANK_WEIGHT
) -> Tensor:
    """L_f + L_g, and the auxiliary loss that the object-context head needs."""
    masks_BMHW = candidates.logits.sigmoid()
    losses_BM = jaccard_loss(masks_BMHW, target_BHW, valid_BHW) + constraint_loss(masks_BMHW, clicks_B2HW)
    auxiliary = auxiliary_loss(candidates.auxiliary, target_BHW, valid_BHW)
    diversity = hindsight_loss(losses_BM, rank_weight) + selection_loss(candidates.scores, losses_BM)
    return diversity + AUXILIARY_WEIGHT * auxiliary


def click_points(clicks: Sequence[Sequence[Click]], height: int, width: int) -> Tensor:
    """S_p and S_n of a batch, B x 2 x H x W float32: 1 at the clicked pixels, else 0; clicks outside are left out."""
    points_B2HW = torch.zeros(len(clicks), 2, height, width)
    for index, placed in enumerate(clicks):
        for click in placed:
            if 0 <= click.x < width and 0 <= click.y < height:
                points_B2HW[index, 0 if click.positive else 1, click.y, click.x] = 1
    return points_B2HW

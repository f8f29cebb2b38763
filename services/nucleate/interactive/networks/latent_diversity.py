"""Latent diversity (Li, Chen & Koltun 2018; report section 2.1): several plausible masks, and a network that selects one.

A click may mean a nucleus, or that nucleus and the one which touches it. One mask must settle for the mean of both; several
masks, of which only the best is held against the truth, may each be plausible.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nucleate.interactive.networks.layers import conv_bn


@dataclass(frozen=True, eq=False)
class CandidateMasks:
    """What the head gives before one mask is selected.

    Attributes:
        logits: of every mask, B x M x H x W.
        auxiliary: coarse class maps (soft regions) at stride 4, B x K x h x w.
        scores: of the selection network, B x M; the mask of the highest score is the answer. Zero where there is one mask only.
    """

    logits: Tensor
    auxiliary: Tensor
    scores: Tensor

    def selected(self) -> Tensor:
        """Logits B x 1 x H x W of the mask of the highest score."""
        if self.logits.shape[1] == 1:
            return self.logits
        return torch.take_along_dim(self.logits, self.scores.argmax(1)[:, None, None, None], 1)


class SelectionNetwork(nn.Module):
    """g(Z): one score per mask, Z being the pixel features and the masks themselves."""

    def __init__(self, pixels: int, masks: int) -> None:
        """`pixels`: channels of the pixel features."""
        super().__init__()
        # The attributes' names are those of the stored weights.
        self.look = nn.Sequential(conv_bn(pixels + masks, pixels, 3, 2), conv_bn(pixels, pixels, 3, 2))
        self.score = nn.Linear(pixels, masks)

    def forward(self, pixels_BDHW: Tensor, logits_BMHW: Tensor) -> Tensor:
        """Scores B x M; no gradient goes back into Z, since L_g is a function of the selection network alone."""
        seen_BZHW = torch.cat([pixels_BDHW, logits_BMHW.sigmoid()], 1).detach()
        scores_BM: Tensor = self.score(self.look(seen_BZHW).mean((2, 3)))
        return scores_BM

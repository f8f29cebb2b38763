"""What can be chosen about refinement, what it needs and what it gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


class Method(StrEnum):
    """Which auxiliary parameters are optimized until the clicks are obeyed, and by which solver.

    BRS changes the click maps (Jang & Kim 2019), RGB_BRS the image, both through the whole encoder. f-BRS (Sofiiuk et al. 2020)
    scales and shifts the channels of a feature: A the backbone's own, B those and the segmentation feature beside them (report
    figure 3.2), C the last one before the classifier. For HRNet the reference places A and B alike; what tells them apart here
    is the segmentation feature. GAUSS_NEWTON changes what B changes, with a solver of our own instead of L-BFGS.
    """

    NONE = "none"
    FBRS_A = "f-brs-a"
    FBRS_B = "f-brs-b"
    FBRS_C = "f-brs-c"
    BRS = "brs"
    RGB_BRS = "rgb-brs"
    GAUSS_NEWTON = "gauss-newton"


@dataclass(frozen=True)
class RefinementOptions:
    """How to refine.

    Attributes:
        method: what is changed, and how.
        most_evaluations: of the energy and its gradient per click; never exceeded, 0 = no refinement.
        inertial_weight: lambda, of the inertial energy beside the corrective one; None = the method's own.
        early_stop: off makes all evaluations even when the clicks are obeyed.
    """

    method: Method = Method.GAUSS_NEWTON
    most_evaluations: int = 20
    inertial_weight: float | None = None
    early_stop: bool = True


@dataclass(frozen=True, eq=False)
class EncoderInputs:
    """The encoder's inputs, float32 in 0..1: image planes N x P x H x W, click maps N x 2 x H x W, masks N x 1 x H x W."""

    image: Tensor
    clicks: Tensor
    previous: Tensor

    def item(self, index: int) -> EncoderInputs:
        """The inputs of one item, N = 1."""
        item = slice(index, index + 1)
        return EncoderInputs(self.image[item], self.clicks[item], self.previous[item])


@dataclass(frozen=True, eq=False)
class RefinementResult:
    """What refinement gives.

    Attributes:
        probability: of the nucleus, H x W float32 at full resolution, always finite.
        delta: the change behind it, where the next click starts: scales then biases; empty where it is not carried over
            to the next click (BRS, RGB-BRS).
        evaluations: how often energy and gradient were evaluated.
        obeyed: every constrained pixel is on its side.
    """

    probability: NDArray[np.float32]
    delta: NDArray[np.float32]
    evaluations: int
    obeyed: bool


def average_views(views: Sequence[RefinementResult]) -> RefinementResult:
    """The mean probability of an object's views; each view keeps its own change."""
    if len(views) == 1:
        return views[0]
    return RefinementResult(
        np.mean([view.probability for view in views], axis=0, dtype=np.float32),
        np.concatenate([view.delta for view in views]),
        sum(view.evaluations for view in views),
        all(view.obeyed for view in views),
    )

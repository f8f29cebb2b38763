"""Importance weights of synthetic images: how much likelier an image is among real ones than among synthetic ones.

Hou et al., "Robust histopathology image analysis: to label or to synthesize?", CVPR 2019 (report section 2.2): with D the
probability of being synthetic, w = (1 - D) / D = c exp(-z) of the logit z. D is only that probability once it is calibrated, on
images it was not trained on; where it tells nearly all of them apart the ratio means nothing, and the weights are off.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit
from torch import Tensor

from nucleate.refiner.inference import tile_corners
from nucleate.refiner.networks import Discriminator
from nucleate.refiner.pixels import to_signed

Float = NDArray[np.float64]

MIN_WEIGHT, MAX_WEIGHT = 0.2, 2.0  # of a weight, before all are brought to mean 1
MAX_ACCURACY = 0.95
MIN_EFFECTIVE_SHARE = 0.3  # effective sample size over the number of images
_RIDGE = 1e-4  # keeps separable crops finite
_PREFIX = "calibration_"


@dataclass(frozen=True)
class Calibration:
    """P(synthetic) = sigmoid(slope z + offset), and the share of held-out crops that this calls right, 0..1."""

    slope: float
    offset: float
    accuracy: float

    def to_metrics(self) -> dict[str, float]:
        """As metrics of a model."""
        return {_PREFIX + name: value for name, value in asdict(self).items()}

    @classmethod
    def from_metrics(cls, metrics: Mapping[str, float]) -> Calibration | None:
        """Back from `to_metrics`; None where there is none, as in models of earlier versions."""
        names = ("slope", "offset", "accuracy")
        if not all(isinstance(metrics.get(_PREFIX + name), int | float) for name in names):
            return None
        return cls(*(float(metrics[_PREFIX + name]) for name in names))


@dataclass(frozen=True)
class ImportanceWeights:
    """Weights of mean 1, their effective sample size (Σw)²/Σw² in images, and why they are off (all 1, size 0), or ""."""

    values: Float
    effective: float
    off: str


def calibrate(fake_N: Float, real_M: Float) -> Calibration:
    """Logistic regression (Platt 1999) of mean logits of synthetic and of real crops, both kinds weighing alike."""
    z = np.concatenate([fake_N, real_M])
    middle, spread = float(z.mean()), max(float(z.std()), 1e-6)
    design = np.stack([(z - middle) / spread, np.ones_like(z)], axis=1)
    sign = np.concatenate([np.ones(len(fake_N)), -np.ones(len(real_M))])
    share = np.concatenate([np.full(len(fake_N), 0.5 / len(fake_N)), np.full(len(real_M), 0.5 / len(real_M))])

    def loss(at_2: Float) -> tuple[float, Float]:
        wrong = expit(-sign * (design @ at_2))
        value = share @ np.logaddexp(0.0, -sign * (design @ at_2)) + 0.5 * _RIDGE * at_2 @ at_2
        return float(value), _RIDGE * at_2 - design.T @ (share * sign * wrong)

    at = minimize(loss, np.zeros(2), jac=True, method="BFGS").x
    right = sign * (design @ at) > 0
    accuracy = 0.5 * float(right[: len(fake_N)].mean() + right[len(fake_N) :].mean())
    return Calibration(float(at[0] / spread), float(at[1] - at[0] * middle / spread), accuracy)


def importance_weights(logits_N: Float, calibration: Calibration | None) -> ImportanceWeights:
    """Weights of images by their mean logits."""
    uniform = np.ones(len(logits_N))
    if calibration is None:
        return ImportanceWeights(uniform, 0.0, "the model is not calibrated: train it again")
    if calibration.accuracy > MAX_ACCURACY:
        told = f"the discriminator tells {calibration.accuracy:.0%} of held-out crops apart (over {MAX_ACCURACY:.0%})"
        return ImportanceWeights(uniform, 0.0, f"{told}: no synthetic image is near enough to real ones to weigh them")
    ratio = np.exp(-np.clip(calibration.slope * logits_N + calibration.offset, -30, 30))
    bounded = np.clip(ratio, MIN_WEIGHT, MAX_WEIGHT)
    values = bounded / bounded.mean()
    effective = float(values.sum() ** 2 / np.square(values).sum())
    if effective < MIN_EFFECTIVE_SHARE * len(values):
        return ImportanceWeights(
            uniform, 0.0, f"{effective:.1f} of {len(values)} images would carry the weight: too few to learn from"
        )
    return ImportanceWeights(values, effective, "")


def mean_logits(z_B1hw: Tensor) -> Float:
    """Mean logit of each image, N."""
    return np.asarray(z_B1hw.detach().mean(dim=(1, 2, 3)).double().cpu().numpy(), np.float64)


@torch.inference_mode()
def image_logit(discriminator: Discriminator, rgb_HW3: NDArray[np.uint8], tile: int = 512) -> float:
    """Mean logit over the patches of an image of any size, mirrored where it is smaller than a patch."""
    side = discriminator.receptive_field + 8
    missing = [(0, max(0, side - length)) for length in rgb_HW3.shape[:2]]
    padded_HW3 = np.pad(rgb_HW3, [*missing, (0, 0)], mode="symmetric")
    device = next(discriminator.parameters()).device
    height, width = padded_HW3.shape[:2]
    logits = []
    for top, left in tile_corners(max(height - side, 1), max(width - side, 1), tile):
        window = padded_HW3[top : top + tile + side, left : left + tile + side]
        logits.append(discriminator(to_signed(window[None]).to(device)).flatten())
    return float(torch.cat(logits).mean())

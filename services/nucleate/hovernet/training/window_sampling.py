"""Training windows as a pure function of (samples, seed, step): which sample, where, at which scale and symmetry."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nucleate import errors
from nucleate.hovernet.training import augmentation, targets
from nucleate.learning.distributed import World
from nucleate.pathology.stains import standardised_input


@dataclasses.dataclass(frozen=True)
class TrainingSample:
    """An image HW3 uint8 with its instance map HW int, ignored pixels HW bool, origin and loss weight.

    `types` HW uint8 are the classes 1..C of nuclear pixels, 0 where unknown; None: all unknown.
    """

    image: NDArray[np.uint8]
    instances: NDArray[np.int32]
    ignore: NDArray[np.bool_]
    origin: str = "pseudo"
    weight: float = 1.0
    types: NDArray[np.uint8] | None = None


@dataclasses.dataclass(frozen=True)
class Batch:
    """Image B4HW float32 in 0..1, nuclei BHW uint8, HV B2HW float32, loss weight BHW float32.

    `nuclei` is 0 in the background, 1 in a nucleus of unknown class, 1 + k in one of class k.
    """

    image: Tensor
    nuclei: Tensor
    hv: Tensor
    weight: Tensor

    def to(self, device: torch.device) -> Batch:
        """On `device`, the image channels-last."""
        image = self.image.to(device).contiguous(memory_format=torch.channels_last)
        return Batch(image, self.nuclei.to(device), self.hv.to(device), self.weight.to(device))

    def crop_margin(self, margin: int) -> Batch:
        """The targets without `margin` px on each side, for a network that answers for the middle of its input."""
        middle = np.s_[..., margin : self.nuclei.shape[1] - margin, margin : self.nuclei.shape[2] - margin]
        return dataclasses.replace(self, nuclei=self.nuclei[middle], hv=self.hv[middle], weight=self.weight[middle])


@dataclasses.dataclass(frozen=True)
class _PreparedSample:
    planes: NDArray[np.uint8]
    nuclei: NDArray[np.uint8]
    hv: NDArray[np.float16]
    weight: NDArray[np.float32]


class WindowSampler:
    """Draws batch t from (seed, t) alone, so that a resumed training sees the same windows; of several processes each its own.

    A window's origin is drawn by `shares` (renormalised over the origins present), then a sample of that origin by its area.
    """

    def __init__(
        self,
        samples: Sequence[TrainingSample],
        shares: Mapping[str, float],
        crop: int,
        ranges: augmentation.Augmentation,
        seed: int,
        *,
        world: World | None = None,
    ) -> None:
        self._prepared = [_prepare_sample(sample, crop) for sample in samples]
        self._probability = _probabilities(samples, shares)
        self._crop = crop
        self._ranges = ranges
        self._seeds = (world or World()).seeds(seed)

    def batch(self, step: int, size: int) -> Batch:
        """Batch number `step` of `size` windows."""
        rng = np.random.default_rng((*self._seeds, step))
        windows = [self._window(rng) for _ in range(size)]
        return Batch(
            image=torch.from_numpy(np.stack([w.image for w in windows])).permute(0, 3, 1, 2),
            nuclei=torch.from_numpy(np.stack([w.nuclei for w in windows])),
            hv=torch.from_numpy(np.stack([w.hv for w in windows])),
            weight=torch.from_numpy(np.stack([w.weight for w in windows])),
        )

    def _window(self, rng: np.random.Generator) -> augmentation.TrainingWindow:
        item = self._prepared[int(rng.choice(len(self._prepared), p=self._probability))]
        height, width = item.nuclei.shape
        side = min(round(self._crop / rng.uniform(*self._ranges.zoom)), height, width)
        y, x = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
        box = np.s_[y : y + side, x : x + side]
        image = _resized(item.planes[box], self._crop, cv2.INTER_LINEAR)
        window = augmentation.TrainingWindow(
            image=augmentation.augment_colour(image, rng, self._ranges),
            nuclei=_resized(item.nuclei[box], self._crop, cv2.INTER_NEAREST),
            hv=np.stack([_resized(plane[box].astype(np.float32), self._crop, cv2.INTER_NEAREST) for plane in item.hv]),
            weight=_resized(item.weight[box], self._crop, cv2.INTER_NEAREST),
        )
        return augmentation.apply_symmetry(window, int(rng.integers(8)))


def _resized(plane: NDArray[Any], side: int, interpolation: int) -> NDArray[Any]:
    return np.asarray(cv2.resize(plane, (side, side), interpolation=interpolation))


def _prepare_sample(sample: TrainingSample, crop: int) -> _PreparedSample:
    """Makes a sample's targets once; a sample smaller than the crop is reflected out to it, the reflection ignored."""
    planes = standardised_input.planes(sample.image)
    hv = targets.hv_maps(sample.instances)
    weight = np.where(sample.ignore, 0.0, sample.weight).astype(np.float32)
    height, width = sample.instances.shape
    pad = ((0, max(0, crop - height)), (0, max(0, crop - width)))
    if pad != ((0, 0), (0, 0)):
        planes = np.pad(planes, (*pad, (0, 0)), mode="symmetric")
        hv, weight = np.pad(hv, ((0, 0), *pad)), np.pad(weight, pad)
    inside = (sample.instances > 0).astype(np.uint8)
    nuclei = np.pad(inside if sample.types is None else inside * (1 + sample.types), pad)
    return _PreparedSample(planes, nuclei, hv.astype(np.float16), weight)


def _probabilities(samples: Sequence[TrainingSample], shares: Mapping[str, float]) -> NDArray[np.float64]:
    """Probability of each sample: its origin's share, divided among the origin's samples by area."""
    area = np.array([float(s.instances.size) for s in samples])
    origins = np.array([s.origin for s in samples])
    if not len(samples):
        raise errors.InvalidDataset("no sample to train on: add labelled images to the training part of the data set")
    probability = np.zeros(len(samples))
    for origin in np.unique(origins):
        members = origins == origin
        probability[members] = shares.get(str(origin), 0.0) * area[members] / area[members].sum()
    return np.asarray(probability / probability.sum(), np.float64)

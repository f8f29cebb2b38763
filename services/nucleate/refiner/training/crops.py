"""Training crops: batch t is a function of (seed, t) and the images, never of what was drawn before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nucleate.errors import EmptyInput, SizeMismatch
from nucleate.pathology.instances.instance_map import boundary_band
from nucleate.refiner.pixels import to_signed

HELD_OUT = 8  # one image of so many
BAND = 3  # pixels on each side of a contour in which the edge must stay
T = TypeVar("T")


@dataclass(frozen=True)
class SyntheticImage:
    """A synthetic HW3 uint8 RGB image and its HW int32 instance map."""

    name: str
    rgb: NDArray[np.uint8]
    instances: NDArray[np.int32]

    def __post_init__(self) -> None:
        if self.rgb.shape[:2] != self.instances.shape:
            raise SizeMismatch(
                f"'{self.name}': the image is {self.rgb.shape[0]}x{self.rgb.shape[1]} but its instance map is "
                f"{self.instances.shape[0]}x{self.instances.shape[1]}; they must agree"
            )


@dataclass(frozen=True)
class TrainingImages:
    """Synthetic pairs and un-annotated real HW3 uint8 RGB images; neither may be empty (EmptyInput)."""

    synthetic: Sequence[SyntheticImage]
    real: Sequence[NDArray[np.uint8]]

    def __post_init__(self) -> None:
        if not self.synthetic:
            raise EmptyInput("refiner training needs at least one synthetic image: 'synthetic' is empty")
        if not self.real:
            raise EmptyInput("refiner training needs at least one real image: 'real' is empty")


@dataclass(frozen=True)
class Batch:
    """x (synthetic) and y (real) are float B3HW on [-1, 1].

    band is B1HW, 1 within `BAND` pixels of a nuclear contour of x; mask is B1HW, 1 in its nuclei.
    """

    x: Tensor
    y: Tensor
    band: Tensor
    mask: Tensor


def split_held_out(images: TrainingImages) -> tuple[TrainingImages, TrainingImages]:
    """What to train on and what to calibrate on: every eighth image of each kind, or all where there are fewer than eight.

    Calibrated on its own training images, D would be too sure of itself.
    """
    kept: list[list[Any]] = []
    apart: list[list[Any]] = []
    for side in (images.synthetic, images.real):
        enough = len(side) >= HELD_OUT
        kept.append([image for index, image in enumerate(side) if not enough or index % HELD_OUT != HELD_OUT - 1])
        apart.append([image for index, image in enumerate(side) if not enough or index % HELD_OUT == HELD_OUT - 1])
    return TrainingImages(*kept), TrainingImages(*apart)


def draw_batch(images: TrainingImages, batch: int, crop: int, rng: np.random.Generator) -> Batch:
    """`batch` synthetic and as many real crops, each flipped and turned at random in the same way on both sides."""
    synthetic = [_synthetic_crop(_choose(images.synthetic, rng), crop, rng) for _ in range(batch)]
    real = [_real_crop(_choose(images.real, rng), crop, rng) for _ in range(batch)]
    return Batch(
        x=to_signed(np.stack([rgb for rgb, _ in synthetic])),
        y=to_signed(np.stack(real)),
        band=_planes([boundary_band(instances, BAND) for _, instances in synthetic]),
        mask=_planes([instances > 0 for _, instances in synthetic]),
    )


@dataclass(frozen=True)
class _CropPlacement:
    """Where a crop lies and how it is turned; small images are continued by reflection."""

    top: int
    left: int
    side: int
    turns: int
    mirror: bool

    def cut(self, image_HWx: NDArray[Any]) -> NDArray[Any]:
        window = image_HWx[self.top : self.top + self.side, self.left : self.left + self.side]
        missing = [(0, self.side - window.shape[axis]) for axis in (0, 1)] + [(0, 0)] * (image_HWx.ndim - 2)
        turned = np.rot90(np.pad(window, missing, mode="symmetric"), self.turns)
        return np.ascontiguousarray(turned[:, ::-1] if self.mirror else turned)


def _place_crop(shape: tuple[int, ...], side: int, rng: np.random.Generator) -> _CropPlacement:
    top, left = (int(rng.integers(max(length - side, 0) + 1)) for length in shape[:2])
    return _CropPlacement(top, left, side, turns=int(rng.integers(4)), mirror=bool(rng.integers(2)))


def _choose(choices: Sequence[T], rng: np.random.Generator) -> T:
    return choices[int(rng.integers(len(choices)))]


def _synthetic_crop(image: SyntheticImage, side: int, rng: np.random.Generator) -> tuple[NDArray[Any], NDArray[Any]]:
    window = _place_crop(image.rgb.shape, side, rng)
    return window.cut(image.rgb), window.cut(image.instances)


def _planes(masks: Sequence[NDArray[np.bool_]]) -> Tensor:
    return torch.from_numpy(np.stack(masks).astype(np.float32))[:, None]


def _real_crop(rgb: NDArray[np.uint8], side: int, rng: np.random.Generator) -> NDArray[Any]:
    return _place_crop(rgb.shape, side, rng).cut(rgb)

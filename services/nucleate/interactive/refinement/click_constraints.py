"""Clicks as constraints: which pixels they constrain, and on which side of 0.5 each should be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nucleate.interactive.clicks import Click

WINDOW_RADIUS = 1  # f-BRS constrains 3 x 3 pixels round a click
PROBABILITY_MARGIN = 0.01  # of probability beyond 0.5


def click_windows(
    clicks: Sequence[Click], height: int, width: int, radius: int = WINDOW_RADIUS
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Flat pixel indices of the windows, cut to the frame, and the label (0 or 1) of each pixel.

    Where windows of both signs meet, a clicked pixel itself keeps its own sign and the other pixels are not constrained.
    """
    signs_of: dict[int, set[float]] = {}
    centres: dict[int, float] = {}
    for click in clicks:
        if not (0 <= click.x < width and 0 <= click.y < height):
            continue
        centres[click.y * width + click.x] = float(click.positive)
        for y in range(max(click.y - radius, 0), min(click.y + radius + 1, height)):
            for x in range(max(click.x - radius, 0), min(click.x + radius + 1, width)):
                signs_of.setdefault(y * width + x, set()).add(float(click.positive))
    labels = {pixel: signs.pop() for pixel, signs in signs_of.items() if len(signs) == 1} | centres
    pixels = sorted(labels)
    return np.array(pixels, np.intp), np.array([labels[pixel] for pixel in pixels], np.float32)


@dataclass(frozen=True, eq=False)
class ClickConstraints:
    """Flat indices P of the constrained pixels, their labels 0 or 1, weights in the corrective energy, which are clicked."""

    pixels: Tensor
    labels: Tensor
    weights: Tensor
    clicked: Tensor

    @classmethod
    def windows(cls, clicks: Sequence[Click], height: int, width: int, device: torch.device) -> ClickConstraints:
        """3 x 3 windows; the energy is the mean over the positive plus the mean over the negative pixels (f-BRS)."""
        pixels, labels = click_windows(clicks, height, width)
        counts = np.array([max(np.count_nonzero(labels == label), 1) for label in (0, 1)], np.float32)
        clicked = np.isin(pixels, click_windows(clicks, height, width, radius=0)[0])
        return cls._on(device, pixels, labels, np.float32(1) / counts[labels.astype(np.intp)], clicked)

    @classmethod
    def points(cls, clicks: Sequence[Click], height: int, width: int, device: torch.device) -> ClickConstraints:
        """The clicked pixels alone; the energy is the sum over them (BRS)."""
        pixels, labels = click_windows(clicks, height, width, radius=0)
        return cls._on(device, pixels, labels, np.ones_like(labels), np.ones(len(pixels), bool))

    @classmethod
    def _on(cls, device: torch.device, *arrays: NDArray[np.generic]) -> ClickConstraints:
        return cls(*(torch.from_numpy(array).to(device) for array in arrays))

    def corrective_energy(self, probability_HW: Tensor) -> Tensor:
        """Weighted sum of squared errors; the report's formula leaves out the square that the published losses have."""
        return (self.weights * self._errors(probability_HW).square()).sum()

    def satisfied(self, probability_HW: Tensor, *, clicked_only: bool = False) -> bool:
        """Whether every constrained pixel, or every clicked one, is on its side by `PROBABILITY_MARGIN`."""
        right = self._errors(probability_HW).abs() < 0.5 - PROBABILITY_MARGIN
        return bool((right | ~self.clicked).all() if clicked_only else right.all())

    def _errors(self, probability_HW: Tensor) -> Tensor:
        return probability_HW.flatten()[self.pixels] - self.labels

"""Which pixels the clicks ask for, and on which side of 0.5 each should be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nucleate.interactive.clicks import Click

WINDOW_RADIUS = 1  # f-BRS asks for 3 x 3 pixels round a click
SIDE_MARGIN = 0.01  # of probability beyond 0.5


def click_windows(
    clicks: Sequence[Click], height: int, width: int, radius: int = WINDOW_RADIUS
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Flat pixel indices of the windows, cut to the frame, and the side (0 or 1) each pixel is asked to be on.

    Where windows of both signs meet, a clicked pixel itself keeps its own sign and the other pixels are asked nothing.
    """
    asked: dict[int, set[float]] = {}
    centres: dict[int, float] = {}
    for click in clicks:
        if not (0 <= click.x < width and 0 <= click.y < height):
            continue
        centres[click.y * width + click.x] = float(click.positive)
        for y in range(max(click.y - radius, 0), min(click.y + radius + 1, height)):
            for x in range(max(click.x - radius, 0), min(click.x + radius + 1, width)):
                asked.setdefault(y * width + x, set()).add(float(click.positive))
    sides = {pixel: signs.pop() for pixel, signs in asked.items() if len(signs) == 1} | centres
    pixels = sorted(sides)
    return np.array(pixels, np.intp), np.array([sides[pixel] for pixel in pixels], np.float32)


@dataclass(frozen=True, eq=False)
class Asked:
    """Flat indices P of the asked pixels, their sides 0 or 1, their weights in the corrective energy, which were clicked."""

    pixels: Tensor
    sides: Tensor
    weights: Tensor
    clicked: Tensor

    @classmethod
    def windows(cls, clicks: Sequence[Click], height: int, width: int, device: torch.device) -> Asked:
        """3 x 3 windows; the energy is the mean over the positive plus the mean over the negative pixels (f-BRS)."""
        pixels, sides = click_windows(clicks, height, width)
        counts = np.array([max(np.count_nonzero(sides == side), 1) for side in (0, 1)], np.float32)
        clicked = np.isin(pixels, click_windows(clicks, height, width, radius=0)[0])
        return cls._on(device, pixels, sides, np.float32(1) / counts[sides.astype(np.intp)], clicked)

    @classmethod
    def points(cls, clicks: Sequence[Click], height: int, width: int, device: torch.device) -> Asked:
        """The clicked pixels alone; the energy is the sum over them (BRS)."""
        pixels, sides = click_windows(clicks, height, width, radius=0)
        return cls._on(device, pixels, sides, np.ones_like(sides), np.ones(len(pixels), bool))

    @classmethod
    def _on(cls, device: torch.device, *arrays: NDArray[np.generic]) -> Asked:
        return cls(*(torch.from_numpy(array).to(device) for array in arrays))

    def corrective(self, probability_HW: Tensor) -> Tensor:
        """Weighted sum of squared errors; the report's formula leaves out the square that the published losses have."""
        return (self.weights * self._errors(probability_HW).square()).sum()

    def satisfied(self, probability_HW: Tensor, *, clicked_only: bool = False) -> bool:
        """Whether every asked pixel, or every clicked one, is on its side by `SIDE_MARGIN`."""
        right = self._errors(probability_HW).abs() < 0.5 - SIDE_MARGIN
        return bool((right | ~self.clicked).all() if clicked_only else right.all())

    def _errors(self, probability_HW: Tensor) -> Tensor:
        return probability_HW.flatten()[self.pixels] - self.sides

"""What a prediction is made from and what it says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from nucleate.interactive.clicks import Click, Mask
from nucleate.interactive.object_mask import ObjectMask
from nucleate.interactive.prediction.zoom_in import Frame

# (x, y, width, height) of a box in image pixels -> True where the object may not go: finished neighbours, outside the window.
ExclusionMask = Callable[[int, int, int, int], Mask]


class Backbone(Protocol):
    """Runs the encoder: float32 image planes NPHW in 0..1, click maps N2HW, previous masks N1HW -> features NCH/4W/4."""

    def encode(self, image_NPHW: Tensor, clicks_N2HW: Tensor, previous_N1HW: Tensor) -> Tensor:
        """Features of a batch, on the device of the predictor."""
        ...


@dataclass
class StageTimes:
    """Milliseconds of wall time by stage of a prediction."""

    encoding: float = 0.0
    refining: float = 0.0
    finishing: float = 0.0


@dataclass(frozen=True, eq=False)
class Prediction:
    """The mask after a click, in image pixels.

    Attributes:
        mask: the object.
        confidence: mean nucleus probability inside the mask, 0 for an empty one.
        clicks_obeyed: the mask has every click on its side; of two clicks on one pixel only the later one counts.
        honoured: the same click by click, in the order given.
        honoured_by_network: ... of the refined probability at 0.5 alone, before disobeyed pixels are set in the mask.
        evaluations: of the optimizer.
        delta: where refinement starts at the next click.
        frame: the zoom-in frame, in pixels that the network sees; the last frame of the next click.
        probability: the same in image pixels, and the nucleus probability in it, float32.
        times: by stage; of a batch, this object's share.
    """

    mask: ObjectMask
    confidence: float
    clicks_obeyed: bool
    honoured: tuple[bool, ...]
    honoured_by_network: tuple[bool, ...]
    evaluations: int
    delta: NDArray[np.float32]
    frame: Frame
    probability: tuple[Frame, NDArray[np.float32]]
    times: StageTimes


def deduplicate_clicks(clicks: Sequence[Click]) -> list[Click]:
    """Clicks in order with repeats removed; of two clicks of opposite sign on one pixel the later one counts."""
    latest: dict[tuple[int, int], Click] = {}
    for click in clicks:
        latest.pop((click.x, click.y), None)
        latest[click.x, click.y] = click
    return list(latest.values())


def honoured_by(mask: ObjectMask, clicks: Sequence[Click]) -> tuple[bool, ...]:
    """Whether the mask has each click on its side."""
    return tuple(mask.contains(click.x, click.y) == click.positive for click in clicks)


def honoured_by_probability(
    frame: Frame, probability_HW: NDArray[np.float32], mask: ObjectMask, clicks: Sequence[Click]
) -> tuple[bool, ...]:
    """Whether the probability has each click on its side of 0.5; a click outside the frame stays as the mask has it."""
    found = []
    for click in clicks:
        x, y = click.x - frame.x, click.y - frame.y
        inside = 0 <= x < frame.size and 0 <= y < frame.size
        taken = bool(probability_HW[y, x] > 0.5) if inside else mask.contains(click.x, click.y)
        found.append(taken == click.positive)
    return tuple(found)


def outside_image(height: int, width: int) -> ExclusionMask:
    """`ExclusionMask` that only keeps masks inside an image of this size."""

    def excluded(x: int, y: int, box_width: int, box_height: int) -> Mask:
        rows, columns = np.arange(y, y + box_height), np.arange(x, x + box_width)
        outside = ((rows < 0) | (rows >= height))[:, None] | ((columns < 0) | (columns >= width))[None, :]
        return np.asarray(outside, bool)

    return excluded

"""What a session consists of: its window, its objects, the clicks behind the active one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nucleate.interactive.clicks import Click
from nucleate.interactive.object_mask import ObjectMask
from nucleate.interactive.prediction.zoom_in import Frame


@dataclass(frozen=True)
class Box:
    """A rectangle in image pixels."""

    x: int
    y: int
    width: int
    height: int

    def contains(self, x: int, y: int) -> bool:
        """Whether the pixel lies in it."""
        return self.x <= x < self.x + self.width and self.y <= y < self.y + self.height


@dataclass(frozen=True, eq=False)
class ClickStep:
    """One click with its outcome: the mask, the change of the auxiliary parameters, the frame, and the call's answer."""

    click: Click
    mask: ObjectMask
    delta: NDArray[np.float32]
    frame: Frame | None
    answer: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class AcceptedObject:
    """A finished object, or a proposal nobody has clicked (`clicks` = 0)."""

    mask: ObjectMask
    clicks: int


@dataclass(frozen=True, eq=False)
class ActiveObject:
    """The object that clicks go to ("in work"); `original` is what it was when it was selected, empty for a new one."""

    object_id: int
    original: ObjectMask
    original_clicks: int
    steps: tuple[ClickStep, ...] = ()

    @property
    def mask(self) -> ObjectMask:
        """The mask as it stands."""
        return self.steps[-1].mask if self.steps else self.original

    @property
    def clicks(self) -> int:
        """Clicks spent on it so far, those before it was selected included."""
        return self.original_clicks + len(self.steps)

    def at(self, x: int, y: int) -> Click | None:
        """The click on that pixel."""
        return next((step.click for step in self.steps if (step.click.x, step.click.y) == (x, y)), None)

"""The inputs of a session: an image with a predictor prepared for it, and a window; and where they come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from nucleate import errors
from nucleate.interactive.prediction.predictor import Predictor
from nucleate.interactive.sessions.objects import Box
from nucleate.interactive.sessions.state import SessionState

MAX_WINDOW_PIXELS = 4096 * 4096


@dataclass(frozen=True, eq=False)
class PreparedImage:
    """An image and a predictor that has it set; sessions on one image share it, as neither changes."""

    image: NDArray[np.uint8]
    predictor: Predictor

    @property
    def nbytes(self) -> int:
        """Bytes of the image and of what the network sees of it."""
        return self.image.nbytes + self.predictor.nbytes


@dataclass(frozen=True, eq=False)
class SessionInput:
    """The image and the window of it that a session annotates."""

    prepared: PreparedImage
    window: Box

    def pixels(self) -> NDArray[np.uint8]:
        """The window's pixels, contiguous."""
        w = self.window
        return np.ascontiguousarray(self.prepared.image[w.y : w.y + w.height, w.x : w.x + w.width])


def window_for(name: str, image_HW3: NDArray[np.uint8], window: Box | None) -> Box:
    """The part of the image to annotate; none given = the whole image.

    Raises:
        errors.InvalidInput: the window is empty or reaches beyond the image.
        errors.TooLarge: the window has more than 4096 x 4096 pixels.
    """
    height, width = image_HW3.shape[:2]
    w = window or Box(0, 0, width, height)
    if not (w.width and w.height) or w.x + w.width > width or w.y + w.height > height:
        raise errors.InvalidInput(
            f"window of {w.width} x {w.height} pixels at ({w.x}, {w.y}) does not lie in {name} of {width} x {height} pixels"
        )
    if w.width * w.height > MAX_WINDOW_PIXELS:
        raise errors.TooLarge(f"window of {w.width} x {w.height} pixels: annotate at most 4096 x 4096 at a time")
    return w


class SessionOpener(Protocol):
    """From the text of an open request to what it names, so that any replica can take a session up; and to its result."""

    def resolve(self, request: str) -> str:
        """The request with the service's defaults filled in, as they are now."""
        ...

    def open(self, resolved: str) -> tuple[SessionInput, SessionState]:
        """Fetch and check everything that it names."""
        ...

    def publish(self, pixels_HW3: NDArray[np.uint8], instances_HW: NDArray[np.int32], request: str) -> str:
        """Store the window's pixels and its instance map; the text is what CloseSession answers with."""
        ...

"""Click by click prediction: set an image once, then ask for the mask of one nucleus after each click."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from nucleate import errors
from nucleate.interactive.clicks import Click, Mask, click_maps
from nucleate.interactive.fbrs import Refined, RefinementOptions, refine
from nucleate.interactive.finishing import finish
from nucleate.interactive.frames import Frame, frame_for
from nucleate.interactive.masks import ObjectMask
from nucleate.interactive.network import InteractiveNetwork
from nucleate.pathology import appearance

# (x, y, width, height) of a box in image pixels -> True where the object may not go: finished neighbours, outside the window.
Blocked = Callable[[int, int, int, int], Mask]


class Backbone(Protocol):
    """Runs the encoder: float32 image planes NPHW in 0..1, click maps N2HW, previous masks N1HW -> features NCH/4W/4."""

    def encode(
        self, image_NPHW: NDArray[np.float32], clicks_N2HW: NDArray[np.float32], previous_N1HW: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Features of a batch."""
        ...


@dataclass(frozen=True, eq=False)
class Prediction:
    """The mask after a click, in image pixels.

    `confidence` is the mean nucleus probability inside the mask, 0 for an empty one. f-BRS starts from `delta`, 2C values, at
    the next click.
    """

    mask: ObjectMask
    confidence: float
    clicks_obeyed: bool
    evaluations: int
    delta: NDArray[np.float32]


def valid_clicks(clicks: Sequence[Click]) -> list[Click]:
    """Clicks in order with repeats removed; of two clicks of opposite sign on one pixel the later one counts."""
    latest: dict[tuple[int, int], Click] = {}
    for click in clicks:
        latest.pop((click.x, click.y), None)
        latest[click.x, click.y] = click
    return list(latest.values())


def image_box(height: int, width: int) -> Blocked:
    """`Blocked` that only keeps masks inside an image of this size."""

    def blocked(x: int, y: int, box_width: int, box_height: int) -> Mask:
        rows, columns = np.arange(y, y + box_height), np.arange(x, x + box_width)
        outside = ((rows < 0) | (rows >= height))[:, None] | ((columns < 0) | (columns >= width))[None, :]
        return np.asarray(outside, bool)

    return blocked


class Predictor:
    """Network and backbone applied to one image; holds no state of any object."""

    def __init__(
        self,
        network: InteractiveNetwork,
        backbone: Backbone,
        smallest_frame: int,
        options: RefinementOptions | None = None,
        device: str = "cpu",
    ) -> None:
        self._network = network.eval().requires_grad_(requires_grad=False)
        self._backbone = backbone
        self._smallest = smallest_frame
        self._options = options or RefinementOptions()
        self._device = device
        self._planes_HWP: NDArray[np.uint8] | None = None

    def set_image(self, image_HW3: NDArray[np.uint8]) -> None:
        """Take the RGB image, H x W x 3 uint8, that later clicks are on."""
        if image_HW3.dtype != np.uint8 or image_HW3.ndim != 3 or image_HW3.shape[2] != 3 or 0 in image_HW3.shape:
            raise errors.InvalidImage(f"image has shape {image_HW3.shape} and type {image_HW3.dtype}: give H x W x 3 of uint8")
        self._planes_HWP = appearance.planes(image_HW3)

    def predict(
        self,
        clicks: Sequence[Click],
        previous: ObjectMask | None = None,
        delta_2C: NDArray[np.float32] | None = None,
        blocked: Blocked | None = None,
    ) -> Prediction:
        """Mask of the nucleus after the last of `clicks`.

        Args:
            clicks: all clicks on this object so far, in image pixels, oldest first.
            previous: the object's mask before the last click.
            delta_2C: `Prediction.delta` of the last click.
            blocked: where the object may not go; defaults to outside the image.

        Raises:
            errors.Precondition: no image is set.
            errors.InvalidInput: no click, a click outside the image, or no positive click and no mask to cut from.
        """
        if self._planes_HWP is None:
            raise errors.Precondition("no image is set: call set_image first")
        height, width = self._planes_HWP.shape[:2]
        blocked = blocked or image_box(height, width)
        previous = previous or ObjectMask.empty()
        clicks = self._checked(clicks, previous, height, width)
        frame = frame_for(previous, clicks, self._smallest, height, width)
        while True:
            refined, whole = self._look(frame, clicks, previous, delta_2C, blocked)
            larger = frame_for(whole, clicks, self._smallest, height, width)
            if larger.size <= frame.size:
                break
            frame = larger  # the mask outgrew the frame: zoom out and predict again
        inside_HW = whole.within(frame.x, frame.y, frame.size, frame.size)
        confidence = float(refined.probability[inside_HW].mean()) if inside_HW.any() else 0.0
        obeyed = all(whole.holds(click.x, click.y) == click.positive for click in clicks)
        return Prediction(whole, confidence, obeyed, refined.evaluations, refined.delta)

    @staticmethod
    def _checked(clicks: Sequence[Click], previous: ObjectMask, height: int, width: int) -> list[Click]:
        if not clicks:
            raise errors.InvalidInput("no click: place a positive click on the nucleus")
        for click in clicks:
            if not (0 <= click.x < width and 0 <= click.y < height):
                raise errors.InvalidInput(f"click ({click.x}, {click.y}) is outside the image of {width} x {height} pixels")
        if not previous.area and not any(click.positive for click in clicks):
            raise errors.InvalidInput("the first click of an object must be positive: click on the nucleus first")
        return valid_clicks(clicks)

    def _look(
        self,
        frame: Frame,
        clicks: Sequence[Click],
        previous: ObjectMask,
        delta_2C: NDArray[np.float32] | None,
        blocked: Blocked,
    ) -> tuple[Refined, ObjectMask]:
        """Predict in one frame; what the previous mask has outside the frame stays."""
        assert self._planes_HWP is not None
        image_PHW = frame.pixels(self._planes_HWP).transpose(2, 0, 1).astype(np.float32) / np.float32(255)
        local = [click.moved(-frame.x, -frame.y) for click in clicks]
        previous_HW = previous.within(frame.x, frame.y, frame.size, frame.size)
        features_1CHW = self._backbone.encode(
            image_PHW[None], click_maps(local, frame.size, frame.size)[None], previous_HW[None, None].astype(np.float32)
        )
        features = torch.from_numpy(features_1CHW).to(self._device)
        refined = refine(self._network, features, local, delta_2C, self._options)
        locked_HW = blocked(frame.x, frame.y, frame.size, frame.size)
        mask_HW = finish(refined.probability, local, locked_HW, previous_HW)
        return refined, _merge(previous, frame, mask_HW)


def _merge(previous: ObjectMask, frame: Frame, mask_HW: Mask) -> ObjectMask:
    """The previous mask with the frame's part replaced."""
    if not previous.area:
        return ObjectMask.cut(mask_HW, frame.x, frame.y)
    height, width = previous.bits.shape
    left, top = min(frame.x, previous.x), min(frame.y, previous.y)
    right, bottom = max(frame.x + frame.size, previous.x + width), max(frame.y + frame.size, previous.y + height)
    whole_HW = previous.within(left, top, right - left, bottom - top)
    whole_HW[frame.y - top : frame.y - top + frame.size, frame.x - left : frame.x - left + frame.size] = mask_HW
    return ObjectMask.cut(whole_HW, left, top)

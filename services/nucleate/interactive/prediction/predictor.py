"""Click by click prediction: set an image once, then ask for the mask of one nucleus after each click, or of many at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nucleate import errors
from nucleate.interactive.clicks import Click, Mask, click_maps
from nucleate.interactive.networks.interactive_network import InteractiveNetwork
from nucleate.interactive.networks.network_input import network_input, radius_of
from nucleate.interactive.object_mask import ObjectMask
from nucleate.interactive.prediction.closed_contours import Outline, outlines
from nucleate.interactive.prediction.contour_selection import Correction, corrections
from nucleate.interactive.prediction.mask_assembly import Shaping
from nucleate.interactive.prediction.result import (
    Backbone,
    Blocked,
    Prediction,
    Spent,
    honoured_by,
    honoured_by_probability,
    image_box,
    valid_clicks,
)
from nucleate.interactive.prediction.working_resolution import Magnification
from nucleate.interactive.prediction.zoom_in import Frame, frame_for
from nucleate.interactive.refinement import Cancelled, Inputs, Refined, RefinementOptions, averaged, refine_many
from nucleate.pathology.stains.standardised_input import haematoxylin_margin

__all__ = ["Backbone", "Blocked", "Prediction", "Predictor", "Spent", "image_box", "valid_clicks"]

BATCH = 32  # frames per forward pass


@dataclass(frozen=True, eq=False)
class _Object:
    """A nucleus to look at: valid clicks and its mask so far in image pixels, where to look and where refinement starts.

    `frame`, and what `local` and `seen` give, are of the pixels that the network sees.
    """

    clicks: list[Click]
    previous: ObjectMask
    blocked: Blocked
    frame: Frame
    delta: NDArray[np.float32] | None
    magnification: Magnification
    made: Sequence[Correction] = ()
    spent: Spent = field(default_factory=Spent)

    def local(self) -> list[Click]:
        """The clicks in the frame's pixels."""
        return [self.magnification.click(click).moved(-self.frame.x, -self.frame.y) for click in self.clicks]

    def seen(self) -> Mask:
        """The mask so far as the frame sees it."""
        frame = self.frame
        return self.magnification.object(self.previous).within(frame.x, frame.y, frame.size, frame.size)


class Predictor:
    """Network and backbone applied to one image; holds no state of any object, so calls may run side by side."""

    def __init__(
        self,
        network: InteractiveNetwork,
        backbone: Backbone,
        smallest_frame: int,
        options: RefinementOptions | None = None,
        device: str = "cpu",
        *,
        flip: bool = False,
        outline: bool = True,
    ) -> None:
        """`flip`: average with the prediction on the mirrored frame, at twice the cost; `outline`: close masks by outlines."""
        self._network = network.eval().requires_grad_(requires_grad=False)
        self._backbone = backbone
        self._smallest = smallest_frame
        self._options = options or RefinementOptions()
        self._device = device
        self._outline = outline
        self._mirrored = (False, True) if flip else (False,)
        self._size = (0, 0)
        self._magnification = Magnification(1.0)
        self._planes_HWP: NDArray[np.uint8] | None = None

    @property
    def nbytes(self) -> int:
        """Bytes that the image set takes, as the network sees it."""
        return 0 if self._planes_HWP is None else self._planes_HWP.nbytes

    def set_image(self, image_HW3: NDArray[np.uint8]) -> None:
        """Take the RGB image, H x W x 3 uint8, that later clicks are on."""
        if image_HW3.dtype != np.uint8 or image_HW3.ndim != 3 or image_HW3.shape[2] != 3 or 0 in image_HW3.shape:
            raise errors.InvalidImage(f"image has shape {image_HW3.shape} and type {image_HW3.dtype}: give H x W x 3 of uint8")
        self._size = height, width = image_HW3.shape[:2]
        planes_HWP = network_input(image_HW3)
        radius = radius_of(float(planes_HWP[0, 0, 4]))
        self._magnification = Magnification.to_working_radius(radius, height, width)
        factor = self._magnification.factor
        enlarged = factor > 1
        self._planes_HWP = network_input(self._magnification.image(image_HW3), radius * factor) if enlarged else planes_HWP

    def predict(
        self,
        clicks: Sequence[Click],
        shown: Sequence[ObjectMask] = (),
        delta: NDArray[np.float32] | None = None,
        blocked: Blocked | None = None,
        cancelled: Cancelled | None = None,
        *,
        frame: Frame | None = None,
    ) -> Prediction:
        """Mask of the nucleus after the last of `clicks`.

        Args:
            clicks: all clicks on this object so far, in image pixels, oldest first.
            shown: the object's mask before each of the latest of `clicks`, the last one's last; none = an empty one.
            delta: `Prediction.delta` of the last click.
            blocked: where the object may not go; defaults to outside the image.
            cancelled: asked between evaluations.
            frame: `Prediction.frame` of the last click, kept while the object lies well inside it.

        Raises:
            errors.Precondition: no image is set.
            errors.InvalidInput: no click, a click outside the image, or no positive click and no mask to cut from.
            errors.Cancelled: `cancelled` said so.
        """
        shown = shown or [ObjectMask.empty()]
        previous = shown[-1]
        valid = self._checked(clicks, previous)
        frame = self._frame(previous, valid, frame)
        made = corrections(shown, clicks[-len(shown) :])
        seen = _Object(valid, previous, blocked or image_box(*self._size), frame, delta, self._magnification, made)
        return self._settled(seen, clicks, *self._look([seen], cancelled)[0], cancelled)

    def predict_many(self, points: Sequence[Click], blocked: Blocked | None = None) -> list[Prediction]:
        """One nucleus per positive click, each as `predict` gives it alone, in forward passes of up to 32 frames.

        Raises:
            errors.Precondition: no image is set.
            errors.InvalidInput: a click is negative or outside the image.
        """
        blocked, nothing, found = blocked or image_box(*self._size), ObjectMask.empty(), []
        objects = [
            _Object([p], nothing, blocked, self._frame(nothing, [p], None), None, self._magnification)
            for p in points
            if self._checked([p], nothing)
        ]
        for start in range(0, len(objects), BATCH):
            batch = objects[start : start + BATCH]
            looks = self._look(batch, None)
            found += [self._settled(o, o.clicks, *look, None) for o, look in zip(batch, looks, strict=True)]
        return found

    def _frame(self, mask: ObjectMask, clicks: Sequence[Click], kept: Frame | None) -> Frame:
        """Where to look, in pixels that the network sees."""
        assert self._planes_HWP is not None
        height, width = self._planes_HWP.shape[:2]
        magnified = [self._magnification.click(click) for click in clicks]
        return frame_for(self._magnification.object(mask), magnified, self._smallest, height, width, kept=kept)

    def _checked(self, clicks: Sequence[Click], previous: ObjectMask) -> list[Click]:
        if self._planes_HWP is None:
            raise errors.Precondition("no image is set: call set_image first")
        height, width = self._size
        if not clicks:
            raise errors.InvalidInput("no click: place a positive click on the nucleus")
        for click in clicks:
            if not (0 <= click.x < width and 0 <= click.y < height):
                raise errors.InvalidInput(f"click ({click.x}, {click.y}) is outside the image of {width} x {height} pixels")
        if not previous.area and not any(click.positive for click in clicks):
            raise errors.InvalidInput("the first click of an object must be positive: click on the nucleus first")
        return valid_clicks(clicks)

    def _settled(
        self, seen: _Object, clicks: Sequence[Click], refined: Refined, mask: ObjectMask, cancelled: Cancelled | None
    ) -> Prediction:
        """The prediction; while the mask outgrows the frame, zoom out and look again."""
        while True:
            larger = self._frame(mask, seen.clicks, seen.frame)
            if larger.size <= seen.frame.size:
                break
            seen = replace(seen, frame=larger)
            refined, mask = self._look([seen], cancelled)[0]
        shown, probability_HW = self._magnification.reduced(seen.frame, refined.probability)
        inside_HW = mask.within(shown.x, shown.y, shown.size, shown.size)
        magnified = [self._magnification.click(click) for click in clicks]
        return Prediction(
            mask,
            float(probability_HW[inside_HW].mean()) if inside_HW.any() else 0.0,
            all(honoured_by(mask, seen.clicks)),
            honoured_by(mask, clicks),
            honoured_by_probability(seen.frame, refined.probability, self._magnification.object(mask), magnified),
            refined.evaluations,
            refined.delta,
            seen.frame,
            (shown, probability_HW),
            seen.spent,
        )

    def _look(self, objects: Sequence[_Object], cancelled: Cancelled | None) -> list[tuple[Refined, ObjectMask]]:
        """Predict in frames of one size; what a mask has outside its frame stays."""
        started = perf_counter()
        inputs = self._inputs(objects)
        features_NCHW = self._backbone.encode(*inputs)
        encoded = perf_counter()
        views = self._refine(objects, features_NCHW, inputs, cancelled)
        refined = [averaged(views[i :: len(objects)]) for i in range(len(objects))]
        done = perf_counter()
        for seen in objects:
            seen.spent.encoding += 1000 * (encoded - started) / len(objects)
            seen.spent.refining += 1000 * (done - encoded) / len(objects)
        return [(found, self._finished(seen, found.probability)) for seen, found in zip(objects, refined, strict=True)]

    def _inputs(self, objects: Sequence[_Object]) -> tuple[Tensor, Tensor, Tensor]:
        """The encoder's inputs on the device, all objects as they are, then all mirrored where asked for."""
        assert self._planes_HWP is not None
        size, views = objects[0].frame.size, len(self._mirrored)
        image_NPHW = np.empty((views, len(objects), self._planes_HWP.shape[2], size, size), np.float32)
        clicks_N2HW = np.empty((views, len(objects), 2, size, size), np.float32)
        previous_N1HW = np.empty((views, len(objects), 1, size, size), np.float32)
        for i, seen in enumerate(objects):
            np.divide(seen.frame.pixels(self._planes_HWP).transpose(2, 0, 1), np.float32(255), out=image_NPHW[0, i])
            clicks_N2HW[0, i] = click_maps(seen.local(), size, size, self._network.config.clicks)
            previous_N1HW[0, i] = seen.seen()
        arrays = (image_NPHW, clicks_N2HW, previous_N1HW)
        for array in arrays:
            array[1:] = array[:1, ..., ::-1]
        image, maps, previous = (torch.from_numpy(array).flatten(0, 1).to(self._device) for array in arrays)
        return image, maps, previous

    def _refine(
        self,
        objects: Sequence[_Object],
        features_NCHW: Tensor,
        inputs: tuple[Tensor, Tensor, Tensor],
        cancelled: Cancelled | None,
    ) -> list[Refined]:
        """Refine every view of every object, views after one another; mirrored views are turned back."""
        last, count = objects[0].frame.size - 1, len(self._mirrored)
        found: list[Refined] = []
        for view, mirrored in enumerate(self._mirrored):
            part = slice(view * len(objects), (view + 1) * len(objects))
            clicks = [[replace(c, x=last - c.x) for c in o.local()] if mirrored else o.local() for o in objects]
            deltas = [None if o.delta is None else np.split(o.delta, count)[view] for o in objects]
            image, maps, previous = (tensor[part] for tensor in inputs)
            refined = refine_many(
                self._network,
                features_NCHW[part],
                clicks,
                deltas,
                self._options,
                inputs=Inputs(image, maps, previous),
                cancelled=cancelled,
            )
            found += [replace(r, probability=r.probability[:, ::-1]) for r in refined] if mirrored else refined
        return found

    def _finished(self, seen: _Object, probability_HW: NDArray[np.float32]) -> ObjectMask:
        """The whole mask after the frame's part was shaped and finished."""
        assert self._planes_HWP is not None
        started, frame, clicks, previous_HW = perf_counter(), seen.frame, seen.local(), seen.seen()
        planes_HWP = frame.pixels(self._planes_HWP)
        radius = radius_of(float(planes_HWP[0, 0, 4]))
        found: list[Outline] = []
        if self._outline:
            found = outlines(probability_HW, haematoxylin_margin(planes_HWP), radius, clicks, previous_HW, many=bool(seen.made))
        shown, reduced_HW = self._magnification.reduced(frame, probability_HW)
        local = Shaping(
            frame,
            shown,
            self._magnification.factor,
            reduced_HW,
            [click.moved(-shown.x, -shown.y) for click in seen.clicks],
            seen.blocked(shown.x, shown.y, shown.size, shown.size),
            seen.previous,
            anew=self._outline,  # an outline answers all clicks at once; where none fits, to mix both rules is worst
        )
        whole = local.likeliest(found, seen.made)
        seen.spent.finishing += 1000 * (perf_counter() - started)
        return whole

"""Click by click prediction: set an image once, then ask for the mask of one nucleus after each click, or of many at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from time import perf_counter

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nucleate import errors
from nucleate.interactive.cancellation import CancellationCheck
from nucleate.interactive.clicks import Click, click_maps
from nucleate.interactive.networks.interactive_network import InteractiveNetwork
from nucleate.interactive.networks.network_input import level_to_radius, network_input
from nucleate.interactive.object_mask import ObjectMask
from nucleate.interactive.prediction.closed_contours import Contour, candidate_contours
from nucleate.interactive.prediction.contour_selection import latest_corrections
from nucleate.interactive.prediction.mask_assembly import MaskAssembly
from nucleate.interactive.prediction.object_input import ObjectInput
from nucleate.interactive.prediction.result import (
    Backbone,
    ExclusionMask,
    Prediction,
    deduplicate_clicks,
    honoured_by,
    honoured_by_probability,
    outside_image,
)
from nucleate.interactive.prediction.working_resolution import Resampling
from nucleate.interactive.prediction.zoom_in import Frame, frame_for
from nucleate.interactive.refinement import (
    EncoderInputs,
    RefinementOptions,
    RefinementResult,
    average_views,
    refine_many,
)
from nucleate.pathology.stains.standardised_input import haematoxylin_margin

BATCH = 32  # frames per forward pass


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
        contours: bool = True,
    ) -> None:
        """`flip`: average with the prediction on the mirrored frame, at twice the cost; `contours`: fit closed contours."""
        self._network = network.eval().requires_grad_(requires_grad=False)
        self._backbone = backbone
        self._smallest = smallest_frame
        self._options = options or RefinementOptions()
        self._device = device
        self._contours = contours
        self._mirrored = (False, True) if flip else (False,)
        self._size = (0, 0)
        self._resampling = Resampling(1.0)
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
        radius = level_to_radius(float(planes_HWP[0, 0, 4]))
        self._resampling = Resampling.to_working_radius(radius, height, width)
        factor = self._resampling.factor
        enlarged = factor > 1
        self._planes_HWP = network_input(self._resampling.enlarge_image(image_HW3), radius * factor) if enlarged else planes_HWP

    def predict(
        self,
        clicks: Sequence[Click],
        previous_masks: Sequence[ObjectMask] = (),
        delta: NDArray[np.float32] | None = None,
        excluded: ExclusionMask | None = None,
        cancelled: CancellationCheck | None = None,
        *,
        frame: Frame | None = None,
    ) -> Prediction:
        """Mask of the nucleus after the last of `clicks`.

        Args:
            clicks: all clicks on this object so far, in image pixels, oldest first.
            previous_masks: the object's mask before each of the latest of `clicks`, the last one's last; none = an empty one.
            delta: `Prediction.delta` of the last click.
            excluded: where the object may not go; defaults to outside the image.
            cancelled: asked between evaluations.
            frame: `Prediction.frame` of the last click, kept while the object lies well inside it.

        Raises:
            errors.Precondition: no image is set.
            errors.InvalidInput: no click, a click outside the image, or no positive click and no mask to cut from.
            errors.Cancelled: `cancelled` said so.
        """
        previous_masks = previous_masks or [ObjectMask.empty()]
        previous = previous_masks[-1]
        valid = self._validated(clicks, previous)
        frame = self._frame(previous, valid, frame)
        corrections = latest_corrections(previous_masks, clicks[-len(previous_masks) :])
        excluded = excluded or outside_image(*self._size)
        target = ObjectInput(valid, previous, excluded, frame, delta, self._resampling, corrections)
        return self._prediction(target, clicks, *self._predict_frames([target], cancelled)[0], cancelled)

    def predict_many(self, points: Sequence[Click], excluded: ExclusionMask | None = None) -> list[Prediction]:
        """One nucleus per positive click, each as `predict` gives it alone, in forward passes of up to 32 frames.

        Raises:
            errors.Precondition: no image is set.
            errors.InvalidInput: a click is negative or outside the image.
        """
        excluded, nothing, found = excluded or outside_image(*self._size), ObjectMask.empty(), []
        objects = [
            ObjectInput([p], nothing, excluded, self._frame(nothing, [p], None), None, self._resampling)
            for p in points
            if self._validated([p], nothing)
        ]
        for start in range(0, len(objects), BATCH):
            batch = objects[start : start + BATCH]
            predicted = self._predict_frames(batch, None)
            found += [self._prediction(o, o.clicks, *result, None) for o, result in zip(batch, predicted, strict=True)]
        return found

    def _frame(self, mask: ObjectMask, clicks: Sequence[Click], last_frame: Frame | None) -> Frame:
        """The zoom-in frame, in pixels that the network sees."""
        assert self._planes_HWP is not None
        height, width = self._planes_HWP.shape[:2]
        network_clicks = [self._resampling.enlarge_click(click) for click in clicks]
        return frame_for(
            self._resampling.enlarge_object(mask), network_clicks, self._smallest, height, width, last_frame=last_frame
        )

    def _validated(self, clicks: Sequence[Click], previous: ObjectMask) -> list[Click]:
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
        return deduplicate_clicks(clicks)

    def _prediction(
        self,
        target: ObjectInput,
        clicks: Sequence[Click],
        refined: RefinementResult,
        mask: ObjectMask,
        cancelled: CancellationCheck | None,
    ) -> Prediction:
        """The prediction; while the mask outgrows the frame, zoom out and predict again."""
        while True:
            larger = self._frame(mask, target.clicks, target.frame)
            if larger.size <= target.frame.size:
                break
            target = replace(target, frame=larger)
            refined, mask = self._predict_frames([target], cancelled)[0]
        image_frame, probability_HW = self._resampling.reduce(target.frame, refined.probability)
        inside_HW = mask.crop(image_frame.x, image_frame.y, image_frame.size, image_frame.size)
        network_clicks = [self._resampling.enlarge_click(click) for click in clicks]
        return Prediction(
            mask,
            float(probability_HW[inside_HW].mean()) if inside_HW.any() else 0.0,
            all(honoured_by(mask, target.clicks)),
            honoured_by(mask, clicks),
            honoured_by_probability(target.frame, refined.probability, self._resampling.enlarge_object(mask), network_clicks),
            refined.evaluations,
            refined.delta,
            target.frame,
            (image_frame, probability_HW),
            target.times,
        )

    def _predict_frames(
        self, objects: Sequence[ObjectInput], cancelled: CancellationCheck | None
    ) -> list[tuple[RefinementResult, ObjectMask]]:
        """Predict in frames of one size; what a mask has outside its frame stays."""
        started = perf_counter()
        inputs = self._inputs(objects)
        features_NCHW = self._backbone.encode(*inputs)
        encoded = perf_counter()
        views = self._refine(objects, features_NCHW, inputs, cancelled)
        refined = [average_views(views[i :: len(objects)]) for i in range(len(objects))]
        done = perf_counter()
        for target in objects:
            target.times.encoding += 1000 * (encoded - started) / len(objects)
            target.times.refining += 1000 * (done - encoded) / len(objects)
        return [(found, self._assembled_mask(o, found.probability)) for o, found in zip(objects, refined, strict=True)]

    def _inputs(self, objects: Sequence[ObjectInput]) -> tuple[Tensor, Tensor, Tensor]:
        """The encoder's inputs on the device, all objects as they are, then all mirrored where asked for."""
        assert self._planes_HWP is not None
        size, views = objects[0].frame.size, len(self._mirrored)
        image_NPHW = np.empty((views, len(objects), self._planes_HWP.shape[2], size, size), np.float32)
        clicks_N2HW = np.empty((views, len(objects), 2, size, size), np.float32)
        previous_N1HW = np.empty((views, len(objects), 1, size, size), np.float32)
        for i, target in enumerate(objects):
            np.divide(target.frame.pixels(self._planes_HWP).transpose(2, 0, 1), np.float32(255), out=image_NPHW[0, i])
            clicks_N2HW[0, i] = click_maps(target.frame_clicks(), size, size, self._network.config.clicks)
            previous_N1HW[0, i] = target.frame_mask()
        arrays = (image_NPHW, clicks_N2HW, previous_N1HW)
        for array in arrays:
            array[1:] = array[:1, ..., ::-1]
        image, maps, previous = (torch.from_numpy(array).flatten(0, 1).to(self._device) for array in arrays)
        return image, maps, previous

    def _refine(
        self,
        objects: Sequence[ObjectInput],
        features_NCHW: Tensor,
        inputs: tuple[Tensor, Tensor, Tensor],
        cancelled: CancellationCheck | None,
    ) -> list[RefinementResult]:
        """Refine every view of every object, views after one another; mirrored views are turned back."""
        last, count = objects[0].frame.size - 1, len(self._mirrored)
        found: list[RefinementResult] = []
        for view, mirrored in enumerate(self._mirrored):
            part = slice(view * len(objects), (view + 1) * len(objects))
            clicks = [[replace(c, x=last - c.x) for c in o.frame_clicks()] if mirrored else o.frame_clicks() for o in objects]
            deltas = [None if o.delta is None else np.split(o.delta, count)[view] for o in objects]
            image, maps, previous = (tensor[part] for tensor in inputs)
            refined = refine_many(
                self._network,
                features_NCHW[part],
                clicks,
                deltas,
                self._options,
                inputs=EncoderInputs(image, maps, previous),
                cancelled=cancelled,
            )
            found += [replace(r, probability=r.probability[:, ::-1]) for r in refined] if mirrored else refined
        return found

    def _assembled_mask(self, target: ObjectInput, probability_HW: NDArray[np.float32]) -> ObjectMask:
        """The whole mask, its part in the frame thresholded and postprocessed."""
        assert self._planes_HWP is not None
        started, frame, clicks, previous_HW = perf_counter(), target.frame, target.frame_clicks(), target.frame_mask()
        planes_HWP = frame.pixels(self._planes_HWP)
        radius = level_to_radius(float(planes_HWP[0, 0, 4]))
        found: list[Contour] = []
        if self._contours:
            all_sizes = bool(target.corrections)
            found = candidate_contours(
                probability_HW, haematoxylin_margin(planes_HWP), radius, clicks, previous_HW, all_sizes=all_sizes
            )
        image_frame, reduced_HW = self._resampling.reduce(frame, probability_HW)
        assembly = MaskAssembly(
            frame,
            image_frame,
            self._resampling.factor,
            reduced_HW,
            [click.translated(-image_frame.x, -image_frame.y) for click in target.clicks],
            target.excluded(image_frame.x, image_frame.y, image_frame.size, image_frame.size),
            target.previous,
            # A contour answers all clicks at once; where none fits, to mix both rules is worst.
            progressive_merge=not self._contours,
        )
        mask = assembly.best_mask(found, target.corrections)
        target.times.finishing += 1000 * (perf_counter() - started)
        return mask

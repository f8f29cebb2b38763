"""From an image to its nuclei, by a trained network or by the training-free baseline."""

from __future__ import annotations

import dataclasses
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from nucleate.errors import InvalidImage
from nucleate.hovernet.inference import pseudo_labels, sliding_window
from nucleate.hovernet.inference.sliding_window import MIN_SIDE, Network
from nucleate.hovernet.postprocessing import hv_instances
from nucleate.hovernet.profiles import Profile
from nucleate.pathology.images import raster_files
from nucleate.pathology.instances import magnification
from nucleate.pathology.instances.instance_map import relabel
from nucleate.pathology.instances.nucleus_records import NucleusRecord, nucleus_records
from nucleate.pathology.instances.typical_radius import image_typical_radius, typical_radius
from nucleate.pathology.segmentation import classical, pseudo_label_refinement
from nucleate.pathology.stains import standardised_input

_RESOLUTION_TOLERANCE = 0.05  # relative difference of resolution that is left alone


@dataclasses.dataclass(frozen=True)
class NetworkSegmenter:
    """A network and the profile it is used by."""

    net: Network
    profile: Profile

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the types 1..C."""
        return self.net.arch.classes


@dataclasses.dataclass(frozen=True)
class ClassicalSegmenter:
    """The training-free baseline."""


@dataclasses.dataclass(frozen=True)
class Segmentation:
    """Instance map HW int32, where asked for the pixels the segmenter is uncertain of, HW bool, and the typical radius in px.

    A network's probability of nucleus HW float32, and a typed one's likeliest types HW uint8 and their names, come with it.
    """

    instances: NDArray[np.int32]
    ignore: NDArray[np.bool_] | None
    typical_radius: float
    nuclear: NDArray[np.float32] | None = None
    types: NDArray[np.uint8] | None = None
    classes: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """Nuclei found; labels are contiguous."""
        return int(self.instances.max())

    def nuclei(self) -> list[NucleusRecord]:
        """The instance dictionary; the baseline is sure of all its nuclei."""
        nuclear = (self.instances > 0).astype(np.float32) if self.nuclear is None else self.nuclear
        return nucleus_records(self.instances, nuclear, self.types)

    def resized(self, height: int, width: int) -> Segmentation:
        """The same for an image of another resolution; nuclei that no pixel is left of are dropped."""
        if self.instances.shape == (height, width):
            return self
        instances = relabel(_resize_nearest(self.instances, width, height))
        ignore = None if self.ignore is None else _resize_nearest(self.ignore.view(np.uint8), width, height).view(np.bool_)
        nuclear = None if self.nuclear is None else _resize_nearest(self.nuclear, width, height)
        types = None if self.types is None else _resize_nearest(self.types, width, height)
        return Segmentation(instances, ignore, self.typical_radius, nuclear, types, self.classes)


def _resize_nearest(plane_HW: NDArray[Any], width: int, height: int) -> NDArray[Any]:
    return np.asarray(cv2.resize(plane_HW, (width, height), interpolation=cv2.INTER_NEAREST_EXACT))


def segment(
    segmenter: NetworkSegmenter | ClassicalSegmenter,
    image_HW3: NDArray[np.uint8],
    name: str,
    *,
    ignore: bool,
    microns: float = 0.0,
) -> Segmentation:
    """The nuclei of an RGB image; with `ignore` as labels to train on, which the baseline gives refined.

    An image whose pixels are known not to be those of 40x is brought to it, and the maps back to the image.

    Raises:
        InvalidImage: a side is under 32 px; the message names the image.
        InvalidInput: `microns`, the side of a pixel in um, is no such.
        TooLarge: it would be over 100 megapixels at 40x.
    """
    scale = magnification.scale_to_40x(microns, name)
    if abs(scale - 1) <= _RESOLUTION_TOLERANCE:
        return _segment_at_40x(segmenter, image_HW3, name, ignore=ignore)
    height, width = (round(side * scale) for side in image_HW3.shape[:2])
    raster_files.check_size(width, height, f"{name} at 40x", InvalidImage)
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    at_40x = np.asarray(cv2.resize(image_HW3, (width, height), interpolation=interpolation), np.uint8)
    found = _segment_at_40x(segmenter, at_40x, name, ignore=ignore, radius=image_typical_radius(image_HW3))
    return found.resized(*image_HW3.shape[:2])


def _segment_at_40x(
    segmenter: NetworkSegmenter | ClassicalSegmenter,
    image_HW3: NDArray[np.uint8],
    name: str,
    *,
    ignore: bool,
    radius: float | None = None,
) -> Segmentation:
    """As `segment`; the standardised input is computed once, for the network, the contours and the typical radius.

    `radius`: the typical one of the image as it was given, where this one was resized from it.
    """
    height, width = image_HW3.shape[:2]
    if min(height, width) < MIN_SIDE:
        raise InvalidImage(f"{name} is {width} x {height} px: give at least {MIN_SIDE} x {MIN_SIDE}")
    planes_HW4 = standardised_input.planes(image_HW3)
    margin_HW = standardised_input.haematoxylin_margin(planes_HW4)
    if ignore and isinstance(segmenter, ClassicalSegmenter):
        own_radius = typical_radius(margin_HW)
        labels = pseudo_label_refinement.pseudo_labels(image_HW3, margin_HW, own_radius)
        return Segmentation(*labels, radius or own_radius)
    radius = radius or typical_radius(margin_HW)
    if isinstance(segmenter, ClassicalSegmenter):
        return Segmentation(classical.segment(image_HW3), None, radius)
    prediction = sliding_window.predict(segmenter.net, planes_HW4, segmenter.profile.tiling)
    if ignore:
        instances, uncertain = pseudo_labels.network_labels(prediction, segmenter.profile.post)
    else:
        instances, uncertain = hv_instances.instances(prediction.nuclear, prediction.hv, segmenter.profile.post), None
    return Segmentation(instances, uncertain, radius, prediction.nuclear, prediction.types, segmenter.classes)

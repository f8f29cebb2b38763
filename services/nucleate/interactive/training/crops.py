"""Training crops: one nucleus of one sample, augmented, with simulated clicks; a function of the generator given."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from nucleate import errors
from nucleate.dataset.manifest import BlobRef, Origin, Sample
from nucleate.dataset.sample_loading import LoadedSample, load_sample
from nucleate.interactive.clicks import Click, Mask
from nucleate.interactive.cropping import crop
from nucleate.interactive.networks.network_input import level_to_radius, network_input, rescaled_level
from nucleate.interactive.prediction.working_resolution import Resampling
from nucleate.interactive.prediction.zoom_in import Frame, centred_frame
from nucleate.interactive.training.click_sampling import correcting_click, first_clicks, positive_clicks
from nucleate.pathology.segmentation.pseudo_label_refinement import refine_labels
from nucleate.pathology.stains.stain_jitter import jitter_stain
from nucleate.pathology.stains.standardised_input import haematoxylin_margin

Value = TypeVar("Value", bound=np.generic)

MIN_NUCLEUS_AREA = 16  # px of area
SHIFT = 8  # px that the nucleus lies off the crop's centre at most
PERTURBED_SHARE = 0.25  # of the crops start from a perturbed mask, as a proposal selected again does
STAIN_STRENGTH = (0.8, 1.25)  # range of each stain's factor after standardisation
MARGIN_STRETCH, MARGIN_SHIFT = 0.15, 5.0  # of the margin plane: part of its contrast, grey levels
SIZE_JITTER = 8.0  # levels of the size plane, a tenth of an octave
MAX_MORPHOLOGY_RADIUS = 3  # px by which a perturbed mask is dilated or eroded at most


@dataclass(frozen=True, eq=False)
class CropSource:
    """A sample in memory, its `network_input` and its usable nuclei: label, centre x, centre y."""

    sample: LoadedSample
    planes: NDArray[np.uint8]
    nuclei: list[tuple[int, float, float]]
    weight: float


@dataclass(eq=False)
class Crop:
    """One training example, square H x W; `clicks` and `previous` move on with the simulated corrections.

    `image` is H x W x 5 uint8, jittered `network_input`, `nucleus` the wanted mask, `valid` the pixels that the loss counts.
    """

    image: NDArray[np.uint8]
    nucleus: Mask
    valid: Mask
    clicks: list[Click]
    previous: Mask


def load_sources(samples: Iterable[Sample], read: Callable[[BlobRef], bytes]) -> list[CropSource]:
    """Decode samples and list their nuclei; those mostly under the ignore mask or below 16 px are not clicked.

    Raises:
        errors.InvalidDataset: no nucleus is left in any sample of positive weight.
    """
    sources = [_source(sample, load_sample(sample, read)) for sample in samples if sample.weight > 0]
    sources = [source for source in sources if source.nuclei]
    if not sources:
        raise errors.InvalidDataset(f"no sample holds a nucleus of {MIN_NUCLEUS_AREA} px or more: check the instance maps")
    return sources


def _source(sample: Sample, loaded: LoadedSample) -> CropSource:
    """The sample at the working resolution.

    Labels that nobody drew are drawn anew, and only those trusted are clicked; where none is, they stay as they are.
    """
    loaded, planes_HWP = _upsampled(loaded)
    if sample.origin is Origin.PSEUDO:
        drawn_HW, trusted = refine_labels(
            haematoxylin_margin(planes_HWP), level_to_radius(float(planes_HWP[0, 0, 4])), loaded.instances
        )
        if trusted:
            redrawn = LoadedSample(loaded.image, drawn_HW, np.zeros_like(loaded.ignore))
            nuclei = [nucleus for nucleus in _nuclei(redrawn) if nucleus[0] in set(trusted)]
            return CropSource(redrawn, planes_HWP, nuclei, sample.weight)
    return CropSource(loaded, planes_HWP, _nuclei(loaded), sample.weight)


def _upsampled(loaded: LoadedSample) -> tuple[LoadedSample, NDArray[np.uint8]]:
    """The sample enlarged as prediction enlarges its image, and its `network_input`."""
    planes_HWP = network_input(loaded.image)
    radius = level_to_radius(float(planes_HWP[0, 0, 4]))
    by = Resampling.to_working_radius(radius, *loaded.instances.shape)
    if by.factor == 1:
        return loaded, planes_HWP
    enlarged = LoadedSample(by.enlarge_image(loaded.image), by.enlarge_labels(loaded.instances), by.enlarge_mask(loaded.ignore))
    return enlarged, network_input(enlarged.image, radius * by.factor)


def _nuclei(loaded: LoadedSample) -> list[tuple[int, float, float]]:
    nuclei = []
    for label, box in enumerate(ndimage.find_objects(loaded.instances), 1):
        if box is None:
            continue
        inside_HW = loaded.instances[box] == label
        area = int(np.count_nonzero(inside_HW))
        ignored = int(np.count_nonzero(loaded.ignore[box] & inside_HW))
        if area >= MIN_NUCLEUS_AREA and 2 * ignored < area:
            nuclei.append((label, (box[1].start + box[1].stop) / 2, (box[0].start + box[0].stop) / 2))
    return nuclei


def draw_crop(
    sources: Sequence[CropSource], size: int, rng: np.random.Generator, zoom: tuple[float, float] = (1.0, 1.0)
) -> Crop:
    """A random nucleus: samples by weight, nuclei of a sample alike; scale, D4, stain jitter, clicks, perturbed masks.

    `zoom`: range of the scale, log-uniform. Nuclei of one image are much alike, those of the next may have half the diameter.
    """
    weights = np.array([source.weight for source in sources])
    source = sources[int(rng.choice(len(sources), p=weights / weights.sum()))]
    label, x, y = source.nuclei[int(rng.integers(len(source.nuclei)))]
    scale = float(np.exp(rng.uniform(*np.log(zoom))))
    shift_x, shift_y = rng.integers(-SHIFT, SHIFT + 1, 2) / scale
    height, width = source.sample.instances.shape
    frame = centred_frame(x + shift_x, y + shift_y, round(size / scale), height, width)
    turn, flip = int(rng.integers(4)), bool(rng.integers(2))

    def orient(array: NDArray[Value]) -> NDArray[Value]:
        turned = np.rot90(array, turn)
        return np.ascontiguousarray(turned[:, ::-1] if flip else turned)

    image_HWP = orient(jitter(_resized(frame.pixels(source.planes), size, cv2.INTER_LINEAR), rng, size / frame.size))
    instances_HW = orient(_labels(frame, source.sample.instances, size, 0))
    valid_HW = ~orient(_labels(frame, source.sample.ignore, size, True))
    nucleus_HW = instances_HW == label
    if rng.random() < PERTURBED_SHARE:
        previous_HW = perturbed_mask(instances_HW, label, rng)
        click = correcting_click(nucleus_HW, previous_HW, [], rng)
        clicks = [click] if click else positive_clicks(nucleus_HW, 1, rng)
    else:
        previous_HW = np.zeros_like(nucleus_HW)
        clicks = first_clicks(instances_HW, label, rng)
    return Crop(image_HWP, nucleus_HW, valid_HW, clicks, previous_HW)


def _resized(array: NDArray[Value], size: int, interpolation: int) -> NDArray[Value]:
    if array.shape[0] == size:
        return array
    return np.asarray(cv2.resize(np.ascontiguousarray(array), (size, size), interpolation=interpolation), array.dtype)


def _labels(frame: Frame, array_HW: NDArray[Value], size: int, outside: object) -> NDArray[Value]:
    """The frame's part of a label map or mask at the crop's scale.

    It is `outside` beyond the image: labels are not mirrored, they would occur twice.
    """
    part_HW = crop(array_HW, frame.x, frame.y, frame.size, frame.size, padding=outside)
    nearest = np.minimum((np.arange(size) * frame.size / size + 0.5 * frame.size / size).astype(int), frame.size - 1)
    return part_HW if frame.size == size else np.ascontiguousarray(part_HW[nearest[:, None], nearest])


def jitter(planes_HWP: NDArray[np.uint8], rng: np.random.Generator, scale: float = 1.0) -> NDArray[np.uint8]:
    """Restain the colours a little; stretch and shift the margin plane, as another threshold would.

    `scale`: how much the planes were enlarged; the size plane follows, and is off by what another estimate would be.
    """
    colours_HW3 = jitter_stain(np.ascontiguousarray(planes_HWP[..., :3]), rng, STAIN_STRENGTH)
    stretch, shift = rng.uniform(1 - MARGIN_STRETCH, 1 + MARGIN_STRETCH), rng.uniform(-MARGIN_SHIFT, MARGIN_SHIFT)
    margin_HW = np.clip((planes_HWP[..., 3] - np.float32(127.5)) * stretch + 127.5 + shift, 0, 255)
    level = np.clip(rescaled_level(float(planes_HWP[0, 0, 4]), scale) + rng.normal(0, SIZE_JITTER), 0, 255)
    size_HW = np.full(margin_HW.shape, np.rint(level))
    return np.dstack([colours_HW3, np.rint(margin_HW).astype(np.uint8), size_HW.astype(np.uint8)])


def perturbed_mask(instances_HW: NDArray[np.int32], label: int, rng: np.random.Generator) -> Mask:
    """A perturbed mask of a nucleus: dilated or eroded, moved, joined with a neighbour, or cut in half."""
    nucleus_HW = instances_HW == label
    perturbed = nucleus_HW.astype(np.uint8)
    radius = int(rng.integers(1, MAX_MORPHOLOGY_RADIUS + 1))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    match int(rng.integers(4)):
        case 0:
            change = cv2.dilate if rng.random() < 0.5 else cv2.erode
            perturbed = np.asarray(change(perturbed, kernel), np.uint8)
        case 1:
            perturbed = np.roll(perturbed, rng.integers(-5, 6, 2).tolist(), (0, 1))
        case 2:
            near = np.asarray(cv2.dilate(perturbed, np.ones((9, 9), np.uint8)), bool)
            neighbours = np.setdiff1d(instances_HW[near], [0, label])
            perturbed |= np.isin(instances_HW, neighbours[:1]).astype(np.uint8)
        case _:
            rows, columns = np.nonzero(nucleus_HW)
            angle = rng.uniform(0, 2 * np.pi)
            side = np.cos(angle) * (rows - rows.mean()) + np.sin(angle) * (columns - columns.mean())
            perturbed[rows[side > 0], columns[side > 0]] = 0
    return np.asarray(perturbed, bool)

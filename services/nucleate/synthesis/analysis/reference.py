"""Everything that synthesis takes from one un-annotated image, computed once and kept."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from nucleate.errors import InvalidImage
from nucleate.pathology.contours.edge_width import edge_width
from nucleate.pathology.stains import macenko_stains
from nucleate.pathology.stains.optical_density import od_to_rgb, rgb_to_od, separate_stains
from nucleate.pathology.stains.stain_vectors import Stains
from nucleate.pathology.stains.tissue import require_tissue, tissue_mask
from nucleate.synthesis.analysis.background import remove_nuclei
from nucleate.synthesis.analysis.nuclear_texture import nuclear_texture
from nucleate.synthesis.analysis.nuclei_detection import detect_nuclei
from nucleate.synthesis.analysis.nuclei_measurement import NucleusMeasurements, contour_power, nearest_label
from nucleate.synthesis.analysis.otsu_regions import haematoxylin_thresholds, super_segmentation
from nucleate.synthesis.profiles import Profile

_MIN_NUCLEI = 5
_DENSITY_SIGMA = 25.0
_SIMILAR = 12
_TOUCHING = 2.5
#: 10-90 % rise of a Gaussian edge in units of its sigma, and the bounds of that sigma in px.
_RISE = 2.563
_EDGE_SIGMA = (0.85, 2.5)


@dataclass(frozen=True)
class Reference:
    """The analysis of a reference image: background, nuclear texture, and the statistics of its nuclei.

    `background_rgb` and `texture_rgb`: HWC uint8. `centre_intensity`: expected nuclear centres per pixel, HW float32.
    `nuclei`: the well-formed ones. `nearest`: index of the nucleus nearest to every pixel, HW int32. `similar`: (n, k) int32,
    the k nuclei nearest to each. `edge_sigma`: width of nuclear edges, px. `touching`: fraction of nuclei that touch another.
    `removed`: fraction of the image that was filled. `residual`: nuclear specks left in the background. `sharpness`: see there.
    `tissue_px`: stained area. `tissue_rgb`: its mean colour, grey levels. `haematoxylin_od`: median density in "nuclei" and
    in the "background". `stains`: by Macenko's method; None where two can't be told apart.
    `contour_power`: irregularity of contours by order, see `nuclear_contours.radial_power`.
    """

    name: str
    sha256: str
    background_rgb: NDArray[np.uint8]
    texture_rgb: NDArray[np.uint8]
    centre_intensity: NDArray[np.float32]
    nearest: NDArray[np.int32]
    nuclei: NucleusMeasurements
    similar: NDArray[np.int32]
    edge_sigma: float
    touching: float
    removed: float
    residual: int
    sharpness: float
    tissue_px: float
    tissue_rgb: tuple[float, float, float]
    haematoxylin_od: dict[str, float]
    stains: Stains | None
    contour_power: NDArray[np.float64]


def analyse_reference(rgb: NDArray[np.uint8], name: str, profile: Profile) -> Reference:
    """Analyse an HWC uint8 image; `name` is used in errors. The same pixels and profile give the same bits.

    Raises:
        InvalidImage: it shows no stained tissue, or fewer than five nuclei to learn from.

    """
    require_tissue(rgb, name)
    sha256 = hashlib.sha256(np.ascontiguousarray(rgb).tobytes() + str(rgb.shape).encode()).hexdigest()
    rgb = _central_crop(rgb, profile.reference_side)
    stain = haematoxylin_thresholds(rgb)
    found = detect_nuclei(rgb, stain.density, profile.models)
    nuclei = found.nuclei.where(found.well_formed)
    if len(nuclei) < _MIN_NUCLEI:
        raise InvalidImage(f"{name} shows too few nuclei to learn from ({len(nuclei)}): leave it out")
    sub = found.sub_segmentation()
    removed = super_segmentation(stain, found.instances)
    background = remove_nuclei(rgb, removed, stain, profile.fill, np.random.default_rng(int(sha256[:16], 16)))
    tissue = tissue_mask(rgb)
    _, eosin = separate_stains(rgb)
    texture = nuclear_texture(rgb_to_od(rgb), eosin, sub, profile.material)
    return Reference(
        name=name,
        sha256=sha256,
        background_rgb=background.rgb,
        texture_rgb=od_to_rgb(texture),
        centre_intensity=_centre_intensity(found.nuclei, nuclei, tissue_mask(background.rgb), profile),
        nearest=_nearest_nucleus(nuclei, removed.shape),
        nuclei=nuclei,
        similar=_similar_nuclei(nuclei),
        edge_sigma=float(np.clip(edge_width(rgb, found.instances) / _RISE, *_EDGE_SIGMA)),
        touching=_touching_fraction(nuclei),
        removed=float(background.removed.mean()),
        residual=background.residual,
        sharpness=sharpness(rgb),
        tissue_px=float(np.count_nonzero(tissue)),
        tissue_rgb=mean_colour(rgb, tissue),
        haematoxylin_od={
            "nuclei": float(np.median(stain.density[sub])),
            "background": float(np.median(stain.density[tissue & ~removed])) if (tissue & ~removed).any() else 0.0,
        },
        stains=macenko_stains.measure(rgb[tissue]),
        contour_power=contour_power(found.instances, nuclei, np.flatnonzero(found.well_formed) + 1),
    )


def sharpness(rgb: NDArray[np.uint8]) -> float:
    """Root mean square of the finest detail (Laplacian, grey levels) of an HWC uint8 image."""
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    return float(np.sqrt((cv2.Laplacian(grey, cv2.CV_32F) ** 2).mean()))


def mean_colour(rgb: NDArray[np.uint8], region_HW: NDArray[np.bool_]) -> tuple[float, float, float]:
    """Mean of an HWC uint8 image over a region that is not empty, grey levels."""
    red, green, blue, _ = cv2.mean(rgb, region_HW.astype(np.uint8))
    return red, green, blue


def _central_crop(rgb: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """The middle of an image that is larger than `side`: statistics need no more."""
    top, left = max(0, (rgb.shape[0] - side) // 2), max(0, (rgb.shape[1] - side) // 2)
    return np.ascontiguousarray(rgb[top : top + side, left : left + side])


def _centre_intensity(
    detected: NucleusMeasurements, nuclei: NucleusMeasurements, tissue_HW: NDArray[np.bool_], profile: Profile
) -> NDArray[np.float32]:
    """Intensity of the point process of centres: near where the image has nuclei, and scattered over its tissue.

    Fragments and clumps of the segmentation are weighed by area, so that they count for as many nuclei as fit into them.
    """
    sites = np.zeros(tissue_HW.shape, dtype=np.float32)
    columns, rows = np.rint(detected.centres).astype(int).T
    np.add.at(sites, (rows, columns), np.minimum(detected.areas / nuclei.areas.mean(), 3.0))
    near = cv2.GaussianBlur(sites, (0, 0), profile.jitter)
    broad = cv2.GaussianBlur(sites, (0, 0), _DENSITY_SIGMA) * tissue_HW
    broad *= sites.sum() / max(float(broad.sum()), 1e-6)
    near *= sites.sum() / max(float(near.sum()), 1e-6)
    intensity: NDArray[np.float32] = (1.0 - profile.scattered) * near + profile.scattered * broad
    return intensity


def _nearest_nucleus(nuclei: NucleusMeasurements, shape: tuple[int, ...]) -> NDArray[np.int32]:
    seeds = np.zeros(shape, dtype=np.int32)
    columns, rows = np.rint(nuclei.centres).astype(int).T
    seeds[rows, columns] = np.arange(1, len(nuclei) + 1)
    return nearest_label(seeds, float("inf")) - 1


def _similar_nuclei(nuclei: NucleusMeasurements) -> NDArray[np.int32]:
    count = min(_SIMILAR, len(nuclei))
    _, index = cKDTree(nuclei.centres).query(nuclei.centres, k=count)
    return np.asarray(index, dtype=np.int32).reshape(len(nuclei), count)


def _touching_fraction(nuclei: NucleusMeasurements) -> float:
    """Fraction of nuclei whose nearest neighbour lies about as near as the sum of their radii."""
    radii = np.sqrt(nuclei.areas / np.pi)
    distance, index = cKDTree(nuclei.centres).query(nuclei.centres, k=2)
    return float((distance[:, 1] - radii - radii[index[:, 1]] < _TOUCHING).mean())

"""What the two-sample classifier looks at: colour, stain, grain, texture and edges of a crop, as one row of numbers."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.feature import local_binary_pattern

from nucleate.pathology.stains.optical_density import separate_stains

Plane = NDArray[np.float32]
Named = Iterator[tuple[str, float]]

_BANDS = 5
_QUANTILES = (0.02, 0.1, 0.5, 0.9, 0.98)
_LBP_RADII = (1, 2, 4)
_TENSOR_SIGMA = 4.0
_CELL = 16


def describe_crop(rgb: NDArray[np.uint8]) -> dict[str, float]:
    """Features by name of an HWC uint8 RGB crop of at least 64 px; all finite."""
    grey = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.float32)
    haematoxylin, eosin = separate_stains(rgb)
    planes = {"grey": grey / np.float32(255), "haematoxylin": haematoxylin, "eosin": eosin}
    found: dict[str, float] = {}
    for name, plane in planes.items():
        found |= {f"{name}.{key}": value for key, value in (*_levels(plane), *_bands(plane), *_edges(plane))}
    found |= dict(_colours(rgb, haematoxylin, eosin))
    found |= dict(_patterns(grey.astype(np.uint8)))
    return found


def _levels(plane: Plane) -> Named:
    yield "mean", float(plane.mean())
    yield "deviation", float(plane.std())
    for share, value in zip(_QUANTILES, np.quantile(plane, _QUANTILES), strict=True):
        yield f"quantile {share}", float(value)


def _bands(plane: Plane) -> Named:
    """Energy and kurtosis of the bands of a Laplacian pyramid, and how unevenly the energy is spread over the crop."""
    for band in range(_BANDS):
        low = cv2.GaussianBlur(plane, (0, 0), 1.0)
        detail = plane - low
        power = detail**2
        energy = float(power.mean()) + 1e-9
        yield f"band {band} energy", float(np.log(energy))
        yield f"band {band} kurtosis", float(np.log(float((power**2).mean()) / energy**2 + 1e-3))
        cells = cv2.resize(
            power, None, fx=1 / (_CELL >> min(band, 2)), fy=1 / (_CELL >> min(band, 2)), interpolation=cv2.INTER_AREA
        )
        yield f"band {band} unevenness", float(np.std(cells) / energy)
        plane = np.asarray(cv2.resize(low, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.float32)


def _edges(plane: Plane) -> Named:
    """Distribution of gradient magnitude, and how parallel gradients are (coherence of the structure tensor)."""
    dx, dy = cv2.Sobel(plane, cv2.CV_32F, 1, 0), cv2.Sobel(plane, cv2.CV_32F, 0, 1)
    magnitude = np.hypot(dx, dy)
    for share in (0.5, 0.9, 0.99):
        yield f"gradient quantile {share}", float(np.quantile(magnitude, share))
    xx, yy, xy = (cv2.GaussianBlur(product, (0, 0), _TENSOR_SIGMA) for product in (dx * dx, dy * dy, dx * dy))
    coherence = np.hypot(xx - yy, 2 * xy) / (xx + yy + np.float32(1e-6))
    yield "coherence", float(coherence.mean())
    yield "coherence deviation", float(coherence.std())


def _colours(rgb: NDArray[np.uint8], haematoxylin: Plane, eosin: Plane) -> Named:
    red, green, blue = (np.asarray(plane, np.float32) for plane in cv2.split(rgb))
    yield "red - green", float((red - green).mean())
    yield "blue - green", float((blue - green).mean())
    yield "red - green deviation", float((red - green).std())
    yield "blue - green deviation", float((blue - green).std())
    for name, one, other in (("stains", haematoxylin, eosin), ("red, green", red, green), ("red, blue", red, blue)):
        yield f"correlation of {name}", _correlation(one, other)
        fine = [plane - cv2.GaussianBlur(plane, (0, 0), 1.5) for plane in (one, other)]
        yield f"correlation of {name}, fine", _correlation(np.asarray(fine[0]), np.asarray(fine[1]))


def _correlation(one: Plane, other: Plane) -> float:
    spread = float(one.std() * other.std())
    return float(((one - one.mean()) * (other - other.mean())).mean()) / spread if spread > 1e-9 else 0.0


def _patterns(grey: NDArray[np.uint8]) -> Named:
    """Rotation-invariant uniform local binary patterns (Ojala et al. 2002), eight neighbours."""
    for radius in _LBP_RADII:
        codes = local_binary_pattern(grey, 8, radius, "uniform").astype(np.intp)  # type: ignore[no-untyped-call]
        for code, share in enumerate(np.bincount(codes.ravel(), minlength=10) / codes.size):
            yield f"pattern {code} at {radius} px", float(share)

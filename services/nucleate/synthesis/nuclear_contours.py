"""Contours of synthetic nuclei: ellipses whose radius varies as that of the reference's nuclei, or random polygons.

By default the radius of an ellipse is perturbed by a random Fourier series whose mean power, order by order, is measured on the
reference. The report's mode draws the polygon of Hou et al. (its reference [6]): vertices at irregular angles around a centre,
radii normally distributed; its radius as a function of the angle is then smoothed, so that the corners go and the irregularity
stays. Either is stretched to the wanted area, axis ratio and orientation.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Points of a smoothed contour.
POINTS = 48
_ANGLES = np.linspace(0.0, 2.0 * np.pi, POINTS, endpoint=False)
_MIN_VERTICES, _MAX_VERTICES = 10, 17
#: Orders of the Fourier series: 1 is a shift and 2 an ellipse; above 8 there is nothing but the pixel grid.
ORDERS = np.arange(3, 9)
_COSINES, _SINES = np.cos(np.outer(ORDERS, _ANGLES)), np.sin(np.outer(ORDERS, _ANGLES))
_MIN_RADIUS, _MAX_RADIUS = 0.5, 1.5


def polygon_radii(
    rng: np.random.Generator, irregularity: float, spikiness: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Angles (rad, ascending from 0 to < 2 pi) and radii (mean about 1, clipped to [0.5, 1.5]) of 10 to 17 vertices.

    `irregularity` in [0, 1] spreads the angular steps, `spikiness` is the standard deviation of the radii.
    """
    vertices = int(rng.integers(_MIN_VERTICES, _MAX_VERTICES + 1))
    steps = 1.0 + irregularity * rng.uniform(-0.9, 0.9, vertices)
    angles = np.concatenate([[0.0], np.cumsum(steps)[:-1]]) * (2.0 * np.pi / steps.sum())
    radii = np.clip(rng.normal(1.0, spikiness, vertices), _MIN_RADIUS, _MAX_RADIUS)
    return angles, radii


def smooth_radii(angles: NDArray[np.float64], radii: NDArray[np.float64], strength: float = 0.3) -> NDArray[np.float64]:
    """Radius at `POINTS` equal angles: the closed polygon's, convolved with a Gaussian of `strength` rad."""
    sampled = np.interp(_ANGLES, angles, radii, period=2.0 * np.pi)
    order = np.fft.rfftfreq(POINTS, 1.0 / POINTS)
    return np.fft.irfft(np.fft.rfft(sampled) * np.exp(-0.5 * (order * strength) ** 2), POINTS)


def polygon_contour(
    rng: np.random.Generator, area: float, axis_ratio: float, angle: float, roughness: float
) -> NDArray[np.float32]:
    """A closed contour around the origin: (POINTS, 2) float32 of (x, y) in pixels.

    `area` in px^2 is met exactly; `axis_ratio` = minor / major in (0, 1]; `angle` of the major axis to the x axis in rad.
    """
    irregularity = float(rng.uniform(0.3, 1.0))
    spikiness = roughness * float(rng.uniform(0.6, 1.6))
    return _scaled_contour(smooth_radii(*polygon_radii(rng, irregularity, spikiness)), area, axis_ratio, angle)


def fourier_contour(
    rng: np.random.Generator, area: float, axis_ratio: float, angle: float, power_K: NDArray[np.float64]
) -> NDArray[np.float32]:
    """As `polygon_contour`, of an ellipse with a radius of random phases and the mean power `power_K` (`radial_power`)."""
    cosines, sines = rng.normal(0.0, 1.0, (2, len(ORDERS))) * np.sqrt(power_K)
    radii = 1.0 + cosines @ _COSINES + sines @ _SINES
    return _scaled_contour(np.clip(radii, _MIN_RADIUS, _MAX_RADIUS), area, axis_ratio, angle)


def radial_power(contour_P2: NDArray[np.floating], axis_ratio: float, angle: float) -> NDArray[np.float64]:
    """Mean square of every one of `ORDERS` in the relative radius of a contour, once its ellipse is made a circle.

    Args:
        contour_P2: (x, y) around the centre of the nucleus, px.
        axis_ratio: minor / major in (0, 1].
        angle: of the major axis, rad.
    """
    cos, sin = np.cos(angle), np.sin(angle)
    along = (contour_P2 @ np.array([cos, sin])) * np.sqrt(axis_ratio)
    across = (contour_P2 @ np.array([-sin, cos])) / np.sqrt(axis_ratio)
    radii = np.interp(_ANGLES, np.arctan2(across, along), np.hypot(along, across), period=2.0 * np.pi)
    waves = np.fft.rfft(radii / radii.mean()) / POINTS
    return np.asarray(2.0 * np.abs(waves[ORDERS]) ** 2, np.float64)


def _scaled_contour(radii: NDArray[np.float64], area: float, axis_ratio: float, angle: float) -> NDArray[np.float32]:
    x = radii * np.cos(_ANGLES)
    y = radii * np.sin(_ANGLES) * axis_ratio
    scale = np.sqrt(area / max(enclosed_area(x, y), 1e-6))
    cos, sin = np.cos(angle), np.sin(angle)
    return np.stack([cos * x - sin * y, sin * x + cos * y], axis=1).astype(np.float32) * np.float32(scale)


def enclosed_area(x: NDArray[np.floating], y: NDArray[np.floating]) -> float:
    """Area of the closed polygon (shoelace formula), in the square of the unit of x and y."""
    return 0.5 * abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))))


def extent_towards(points_xy: NDArray[np.float32], direction: float) -> float:
    """Support function of the contour: how far it reaches from the origin towards `direction` (rad), in pixels."""
    return float((points_xy @ np.array([np.cos(direction), np.sin(direction)], dtype=np.float32)).max())

"""Colour normalization by any method, fitted and applied: `Fitted.to(METHODS["macenko"], target)`, `normalize(fitted, image)`.

Every method measures an image and changes pixels by what it measured and by the target's measurement. The two steps are apart,
so that a slide is measured once, in the median over its tissue, and its tiles show no seams.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nucleate.colornorm.methods import khan, macenko, reinhard, vahadane
from nucleate.colornorm.methods.khan import ConcentrationQuantiles
from nucleate.colornorm.methods.reinhard import LabStatistics
from nucleate.colornorm.methods.tissue_weights import TissueSample, keep_glass, sample_tissue
from nucleate.errors import InvalidImage, InvalidInput
from nucleate.pathology.stains.stain_vectors import Stains

NORMALIZED, ONE_STAIN = "normalized", "one_stain"
#: What a status means, for people.
REASONS = MappingProxyType(
    {
        "low_tissue": "hardly any stained tissue",
        "grey": "no colour",
        ONE_STAIN: "one stain only",
    }
)


@dataclass(frozen=True)
class Method:
    """A classical method: its measurement of tissue pixels K3 (None: impossible) as an array, and its change of pixels.

    `size` is the measurement's length, `milliseconds` of a core per megapixel were measured on the developers' machine by
    tests/bench/bench_colornorm.py.
    """

    name: str
    source: str
    size: int
    milliseconds: float
    measure: Callable[[NDArray[np.uint8]], NDArray[np.float64] | None]
    apply: Callable[[NDArray[np.uint8], NDArray[np.float64], NDArray[np.float64]], NDArray[np.uint8]]


def _method(name: str, module: Any, kind: Any, *, source: str, size: int, milliseconds: float) -> Method:
    def measure(sample_K3: NDArray[np.uint8]) -> NDArray[np.float64] | None:
        found = module.measure(sample_K3)
        return None if found is None else np.asarray(found.to_array(), np.float64)

    def apply(rgb: NDArray[np.uint8], own: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.uint8]:
        return np.asarray(module.apply(rgb, kind.from_array(own), kind.from_array(target)), np.uint8)

    return Method(name, source, size, milliseconds, measure, apply)


_METHODS = (
    _method(
        "reinhard", reinhard, LabStatistics, size=6, milliseconds=10, source="Reinhard et al. 2001: means and deviations in Lab"
    ),
    _method("macenko", macenko, Stains, size=8, milliseconds=15, source="Macenko et al. 2009: two stains by extreme angles"),
    _method(
        "vahadane", vahadane, Stains, size=8, milliseconds=50, source="Vahadane et al. 2016: two stains by sparse factorisation"
    ),
    _method(
        "khan", khan, ConcentrationQuantiles, size=18, milliseconds=40, source="Khan et al. 2014: non-linear maps of two stains"
    ),
)
METHODS = MappingProxyType({method.name: method for method in _METHODS})


def method_named(name: str) -> Method:
    """The classical method of that name.

    Raises:
        InvalidInput: there is none.
    """
    if name not in METHODS:
        raise InvalidInput(f"unknown method '{name[:40]}': choose one of {', '.join(METHODS)}, or a trained ColorNormNet")
    return METHODS[name]


class Normalizer(Protocol):
    """A method with its target, ready for images: `Fitted`, or a trained ColorNormNet."""

    def measure(self, rgb_HW3: NDArray[np.uint8], tissue: TissueSample) -> NDArray[np.float64] | None:
        """What has to be known of an image; None where it cannot be."""
        ...

    def apply(self, rgb_HW3: NDArray[np.uint8], tissue: TissueSample, measured: NDArray[np.float64]) -> NDArray[np.uint8]:
        """The image in the target's colours; `measured` may be of the slide that it is a part of."""
        ...


@dataclass(frozen=True, eq=False)
class Fitted:
    """A classical method and the measurement of its target."""

    method: Method
    target: NDArray[np.float64]

    @classmethod
    def to(cls, method: Method, target_HW3: NDArray[np.uint8], name: str = "the target") -> Fitted:
        """Fitted to an RGB image.

        Raises:
            InvalidImage: it has no tissue or no two stains.
        """
        tissue = sample_tissue(target_HW3)
        measured = None if tissue.status else method.measure(tissue.sample)
        if measured is None:
            why = tissue.status or ONE_STAIN
            raise InvalidImage(f"{name} has no stain to take over ({why}: {REASONS[why]}): choose one with H&E tissue")
        return cls(method, measured)

    def measure(self, rgb_HW3: NDArray[np.uint8], tissue: TissueSample) -> NDArray[np.float64] | None:  # noqa: ARG002
        """See `Normalizer`."""
        return self.method.measure(tissue.sample)

    def apply(self, rgb_HW3: NDArray[np.uint8], tissue: TissueSample, measured: NDArray[np.float64]) -> NDArray[np.uint8]:
        """See `Normalizer`; glass keeps its colour."""
        moved = self.method.apply(rgb_HW3, measured, self.target)
        keep_glass(rgb_HW3, moved, tissue)
        return moved


@dataclass(frozen=True, eq=False)
class Normalized:
    """An image HW3 uint8, and whether it was normalized, or why it was passed through unchanged."""

    image: NDArray[np.uint8]
    status: str


def normalize(normalizer: Normalizer, rgb_HW3: NDArray[np.uint8]) -> Normalized:
    """An RGB image in the target's colours, or itself where that cannot be done."""
    tissue = sample_tissue(rgb_HW3)
    measured = None if tissue.status else normalizer.measure(rgb_HW3, tissue)
    if measured is None:
        return Normalized(rgb_HW3, tissue.status or ONE_STAIN)
    return Normalized(normalizer.apply(rgb_HW3, tissue, measured), NORMALIZED)


def measure_slide(normalizer: Normalizer, tiles: Iterable[NDArray[np.uint8]]) -> NDArray[np.float64] | None:
    """One measurement for a slide: the median over its tissue tiles; None where no tile can be measured."""
    found = []
    for tile_HW3 in tiles:
        tissue = sample_tissue(tile_HW3)
        measured = None if tissue.status else normalizer.measure(tile_HW3, tissue)
        if measured is not None:
            found.append(measured)
    return np.median(np.stack(found), axis=0) if found else None

"""Two stains of an image: the colour that each gives to light, and how much of it there is at most.

Vectors are rows of unit length in optical density (R, G, B), haematoxylin first: of two stains it is the one that absorbs more
red (Ruifrok & Johnston 2001: .65 against .07), so that the two are never swapped and no sign is left to chance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Nearer together (radians), two vectors are one stain and the noise around it.
MIN_ANGLE = 0.12
#: Of the concentrations: a robust largest one.
ROBUST_MAX_PERCENTILE = 99.0


@dataclass(frozen=True, eq=False)
class Stains:
    """Vectors 2 x 3 and the maximum concentrations 2 (percentile 99 over the tissue), float64."""

    vectors: NDArray[np.float64]
    max_concentrations: NDArray[np.float64]

    def to_array(self) -> NDArray[np.float64]:
        """All eight numbers in a row, of which medians over tiles may be taken."""
        return np.concatenate([self.vectors.ravel(), self.max_concentrations])

    @classmethod
    def from_array(cls, values_8: NDArray[np.float64]) -> Stains:
        """Back from `to_array`; the vectors are brought to unit length again."""
        vectors = values_8[:6].reshape(2, 3)
        return cls(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), values_8[6:8])

    @property
    def single_stain(self) -> bool:
        """Whether the image shows one stain only, or none clearly."""
        cosine = float(np.clip(self.vectors[0] @ self.vectors[1], -1.0, 1.0))
        return not np.isfinite(self.to_array()).all() or np.arccos(cosine) < MIN_ANGLE or self.max_concentrations.min() <= 1e-3

    def concentrations(self, density_K3: NDArray[np.float64]) -> NDArray[np.float64]:
        """Least-squares concentrations K2; negative where noise makes them so."""
        return density_K3 @ np.linalg.pinv(self.vectors)


def haematoxylin_first(first_3: NDArray[np.floating], second_3: NDArray[np.floating]) -> NDArray[np.float64]:
    """Both as 2 x 3, haematoxylin first, each turned to where densities are positive and of unit length."""
    pair = np.stack([first_3, second_3]).astype(np.float64)
    pair *= np.where(pair.sum(axis=1, keepdims=True) >= 0, 1.0, -1.0)
    pair /= np.maximum(np.linalg.norm(pair, axis=1, keepdims=True), 1e-12)
    return pair if pair[0, 0] >= pair[1, 0] else pair[::-1].copy()


def stain_transfer_matrix(source: Stains, target: Stains) -> NDArray[np.float64]:
    """The 3 x 3 matrix that takes densities of the source to those that the target's stains give."""
    scale = np.diag(target.max_concentrations / source.max_concentrations)
    return np.asarray(target.vectors.T @ scale @ np.linalg.pinv(source.vectors).T)

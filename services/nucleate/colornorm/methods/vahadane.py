"""A dictionary of two stains with sparse, non-negative concentrations (Vahadane et al. 2016).

A. Vahadane et al., "Structure-Preserving Color Normalization and Sparse Stain Separation for Histological Images", IEEE
Transactions on Medical Imaging 35(8), 2016.

    min  1/2 |V - W H|^2 + lambda |H|_1,   W, H >= 0,   |w_j| = 1                      (the paper's equation 4)

With two stains the sparse code of a pixel has a closed form, and the dictionary is updated a stain at a time; the start is
Macenko's answer on the same pixels, so that nothing depends on chance and few rounds are enough.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nucleate.colornorm.methods import macenko
from nucleate.colornorm.methods.density_matrix import by_strips
from nucleate.pathology.stains.optical_density import rgb_to_od
from nucleate.pathology.stains.stain_vectors import ROBUST_MAX_PERCENTILE, Stains, haematoxylin_first

SPARSITY = 0.1  # of the dictionary, as in the paper's and StainTools' settings
CODE_SPARSITY = 0.01  # of the concentrations that are put together again
_PIXELS = 20_000
_ROUNDS = 60
_TOLERANCE = 1e-5


def measure(sample_K3: NDArray[np.uint8]) -> Stains | None:
    """Stains of tissue pixels; None where fewer than two can be told apart."""
    start = macenko.measure(sample_K3)
    if start is None:
        return None
    pixels = sample_K3[:: max(1, len(sample_K3) // _PIXELS)]
    density = rgb_to_od(np.ascontiguousarray(pixels)).astype(np.float64)
    vectors = np.maximum(start.vectors, 1e-3)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    for _ in range(_ROUNDS):
        before = vectors
        vectors = _update_dictionary(vectors, density, sparse_codes(density, vectors, SPARSITY))
        if np.abs(vectors - before).max() < _TOLERANCE:
            break
    vectors = haematoxylin_first(*vectors)
    stains = Stains(vectors, np.percentile(sparse_codes(density, vectors, CODE_SPARSITY), ROBUST_MAX_PERCENTILE, axis=0))
    return None if stains.single_stain else stains


def sparse_codes(density_K3: NDArray[np.floating], vectors_23: NDArray[np.floating], sparsity: float) -> NDArray[np.floating]:
    """Sparse non-negative concentrations K2, exactly: with both stains, or with the better one alone, or none."""
    first, second = (density_K3 @ vectors_23.T - density_K3.dtype.type(sparsity)).T
    common = density_K3.dtype.type(vectors_23[0] @ vectors_23[1])
    both = (first - common * second) / (1 - common**2), (second - common * first) / (1 - common**2)
    only_second, only_first = both[0] < 0, both[1] < 0
    h = np.where(only_second, 0, np.where(only_first, first, both[0]))
    e = np.where(only_second, second, np.where(only_first, 0, both[1]))
    return np.asarray(np.maximum(np.stack([h, e], axis=1), 0))


def _update_dictionary(
    vectors_23: NDArray[np.float64], density_K3: NDArray[np.float64], codes_K2: NDArray[np.floating]
) -> NDArray[np.float64]:
    """One round of block-coordinate descent on the dictionary (Mairal et al. 2010, algorithm 2)."""
    products, projected = codes_K2.T @ codes_K2, codes_K2.T @ density_K3
    updated = vectors_23.copy()
    for stain in range(2):
        if products[stain, stain] > 0:
            moved = updated[stain] + (projected[stain] - products[stain] @ updated) / products[stain, stain]
            moved = np.maximum(moved, 1e-6)
            updated[stain] = moved / np.linalg.norm(moved)
    return updated


def apply(rgb_HW3: NDArray[np.uint8], source: Stains, target: Stains) -> NDArray[np.uint8]:
    """The image's concentrations in the target's stains, HW3 uint8."""
    from_vectors = source.vectors.astype(np.float32)
    to_vectors = (target.vectors * (target.max_concentrations / source.max_concentrations)[:, None]).astype(np.float32)

    def change(strip_HW3: NDArray[np.uint8]) -> NDArray[np.uint8]:
        density = rgb_to_od(strip_HW3).reshape(-1, 3)
        moved = np.exp(-(sparse_codes(density, from_vectors, CODE_SPARSITY).astype(np.float32) @ to_vectors))
        return np.asarray(np.rint(255.0 * moved), np.uint8).reshape(strip_HW3.shape)

    return by_strips(rgb_HW3, change)

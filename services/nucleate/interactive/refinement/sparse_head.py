"""The head at a few pixels: the receptive field of the constrained pixels, with the region representations held fixed.

Given its region representations, the object-context head is a 3 x 3 convolution followed by work on each feature alone. The
logit of a pixel is interpolated from at most four features of stride 4, so 3 x 3 windows need a handful of 3 x 3 feature
patches per click instead of the whole frame, and one backward pass gives every patch its own gradient.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from nucleate.interactive.networks.interactive_network import STRIDE
from nucleate.interactive.networks.object_context import ObjectContextHead


def _neighbours(pixel: NDArray[np.intp], count: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """Both features of one axis that bilinear interpolation reads for a pixel (pixel centres aligned), weight of the second."""
    position = np.maximum((pixel + 0.5) / STRIDE - 0.5, 0)
    first = position.astype(np.intp)
    return first, np.minimum(first + 1, count - 1), (position - first).astype(np.float32)


def bilinear_weights(pixels_P: NDArray[np.intp], rows: int, columns: int) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Flat indices M of the features that flat full-size pixels P read, and the weights P x M that interpolate them."""
    y, x = np.divmod(pixels_P, columns * STRIDE)
    (top, bottom, down), (left, right, across) = _neighbours(y, rows), _neighbours(x, columns)
    corners_4P = np.stack([top * columns + left, top * columns + right, bottom * columns + left, bottom * columns + right])
    weights_4P = np.stack([(1 - down) * (1 - across), (1 - down) * across, down * (1 - across), down * across])
    cells_M, inverse = np.unique(corners_4P, return_inverse=True)
    weights_PM = np.zeros((len(pixels_P), len(cells_M)), np.float32)
    np.add.at(weights_PM, (np.arange(len(pixels_P))[None, :], inverse.reshape(corners_4P.shape)), weights_4P)
    return cells_M, weights_PM


class SparseHead:
    """The part of the head that the constrained pixels depend on."""

    def __init__(self, head: ObjectContextHead, features_1CHW: Tensor, pixels_P: Tensor) -> None:
        rows, columns = features_1CHW.shape[2:]
        cells_M, weights_PM = bilinear_weights(pixels_P.cpu().numpy(), rows, columns)
        self._head, device, dtype = head, features_1CHW.device, features_1CHW.dtype
        self._weights_PM = torch.from_numpy(weights_PM).to(device, dtype)
        offsets = np.arange(-1, 2)
        y_M33 = (cells_M // columns)[:, None, None] + offsets[None, :, None] + np.zeros((1, 1, 3), np.intp)
        x_M33 = (cells_M % columns)[:, None, None] + offsets[None, None, :] + np.zeros((1, 3, 1), np.intp)
        inside_M33 = (y_M33 >= 0) & (y_M33 < rows) & (x_M33 >= 0) & (x_M33 < columns)
        flat_M33 = np.where(inside_M33, y_M33 * columns + x_M33, 0)
        self._inside_M133 = torch.from_numpy(inside_M33[:, None]).to(device, dtype)
        gathered_CM33 = features_1CHW[0].flatten(1)[:, torch.from_numpy(flat_M33).to(device)]
        self._features_MC33 = gathered_CM33.transpose(0, 1) * self._inside_M133

    def linearise(self, delta_2C: Tensor, regions_1KD: Tensor) -> tuple[Tensor, Tensor]:
        """Logits P of the constrained pixels under a scale and bias, and their Jacobian P x 2C at fixed regions."""
        scale_C, bias_C = (part[None, :, None, None] for part in delta_2C.chunk(2))
        # Padding comes after scale and bias, so both stop at the frame's edge.
        patches_MC33 = (self._features_MC33 * (1 + scale_C) + bias_C * self._inside_M133).requires_grad_()
        logits_M = self._logits(patches_MC33, regions_1KD)
        (gradients_MC33,) = torch.autograd.grad(logits_M.sum(), patches_MC33)
        by_scale_MC = (gradients_MC33 * self._features_MC33).sum((2, 3))
        by_bias_MC = (gradients_MC33 * self._inside_M133).sum((2, 3))
        jacobian_M2C = torch.cat([by_scale_MC, by_bias_MC], 1)
        return self._weights_PM @ logits_M.detach(), self._weights_PM @ jacobian_M2C

    def _logits(self, patches_MC33: Tensor, regions_1KD: Tensor) -> Tensor:
        convolution, *rest = self._head.pixels
        assert isinstance(convolution, nn.Conv2d)
        # A 3 x 3 convolution of a 3 x 3 patch is one dot product per output channel.
        pixels_MD = F.linear(patches_MC33.flatten(1), convolution.weight.flatten(1), convolution.bias)
        pixels_1DM1 = pixels_MD.T[None, :, :, None]
        for layer in rest:
            pixels_1DM1 = layer(pixels_1DM1)
        logits_M: Tensor = self._head.classify(self._head.augmented_representations(pixels_1DM1, regions_1KD)).flatten()
        return logits_M

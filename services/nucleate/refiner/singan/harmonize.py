"""Harmonization: a naive composite enters the pyramid above the coarsest scale and is redrawn in the image's own texture."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from nucleate.errors import InvalidInput, InvalidMask, Precondition, SizeMismatch
from nucleate.refiner.singan.model import HARMONIZING, Model, derived_seed, noise
from nucleate.refiner.singan.networks import MARGIN
from nucleate.refiner.singan.pyramid import enlarge, require_rgb, scaled, shrink, steps_down
from nucleate.refiner.singan.windows import feathered_region, windows_around


def harmonize(
    model: Model,
    naive_HW3: NDArray[np.uint8],
    region_HW: NDArray[np.bool_],
    *,
    inject_scale: int | None = None,
    seed: int | None = None,
) -> NDArray[np.uint8]:
    """Blends what was pasted into an image; pixels beyond the region's dilation and feather keep their bytes.

    An image within `settings.largest` is redrawn as a whole. A larger one is redrawn in windows of `largest` pixels around the
    parts of the region, at the image's own resolution, so nuclei must have the size they have in the training image; what is
    taken from a window lies as far from its inner borders as the generators see (less where `largest` leaves no room for that).

    Args:
        model: all scales trained, on this image or on one of the same tissue and resolution.
        naive_HW3: uint8 RGB composite of any size.
        region_HW: bool, true where something was pasted; empty gives the composite itself.
        inject_scale: where to start, counted from the finest; the settings' choice if None.
        seed: of the noise of each scale; None draws none, which is what the reconstruction was trained with.

    Returns:
        uint8 RGB of the same size.

    Raises:
        InvalidImage, InvalidMask: not uint8 RGB, or a region that is not bool.
        SizeMismatch: region and composite differ in size.
        InvalidInput: no generator with a scale below it lies at `inject_scale`.
        Precondition: the training of `model` is not finished.

    Source: section 4, "Harmonization", of the paper.
    """
    require_rgb(naive_HW3, "the composite")
    if region_HW.dtype != np.bool_ or region_HW.ndim != 2:
        raise InvalidMask(f"the region to harmonize is {region_HW.dtype} of shape {region_HW.shape}: give one bool per pixel")
    if region_HW.shape != naive_HW3.shape[:2]:
        raise SizeMismatch(f"the composite is {naive_HW3.shape[:2]} but the region to harmonize is {region_HW.shape}")
    settings = model.settings
    start = _first_scale(model, settings.inject_scale if inject_scale is None else inject_scale)
    weight_HW = feathered_region(region_HW, settings.dilation, settings.feather)
    result_HW3 = naive_HW3.copy()
    for window in windows_around(weight_HW > 0, settings.largest, _context(model, start)):
        generator = None
        if seed is not None:
            corner = (window.outer[0].start, window.outer[1].start)
            generator = torch.Generator(model.device).manual_seed(derived_seed(seed, HARMONIZING, *corner))
        redrawn_HW3 = _redraw(model, naive_HW3[window.outer], start, generator)[window.core_in_outer]
        mix_HW1 = weight_HW[window.core][..., None]
        mixed_HW3 = mix_HW1 * redrawn_HW3 + (1 - mix_HW1) * naive_HW3[window.core]
        result_HW3[window.core] = np.rint(mixed_HW3).astype(np.uint8)
    return result_HW3


def _first_scale(model: Model, inject_scale: int) -> int:
    scales = len(model.sizes)
    if model.trained_scales < scales:
        raise Precondition(
            f"only {model.trained_scales} of {scales} scales of the SinGAN model are trained; finish its training first"
        )
    if not 0 <= inject_scale < scales - 1:
        raise InvalidInput(f"inject_scale is {inject_scale}: with {scales} scales it must lie between 0 and {scales - 2}")
    return scales - 1 - inject_scale


def _ratio(model: Model) -> float:
    return steps_down(model.sizes[-1], model.settings)[1]


def _context(model: Model, start: int) -> int:
    """Pixels of the finest scale that the generators from `start` on see around a pixel; a third of `largest` at most."""
    ratio, last = _ratio(model), len(model.sizes) - 1
    # On each scale the convolutions, and one pixel of the coarser scale for its up-sampling.
    seen = sum(MARGIN / ratio ** (last - scale) + 1 / ratio ** (last - scale + 1) for scale in range(start, last + 1))
    return min(math.ceil(seen), model.settings.largest // 3)


@torch.inference_mode()
def _redraw(model: Model, naive_HW3: NDArray[np.uint8], start: int, generator: torch.Generator | None) -> NDArray[np.float32]:
    """The composite, shrunk to the scale below `start`, passed up through the generators; float32 HW3 on [0, 255]."""
    ratio, last = _ratio(model), len(model.sizes) - 1
    size = (naive_HW3.shape[0], naive_HW3.shape[1])
    x_13HW = shrink(naive_HW3, scaled(size, ratio ** (last - start + 1))).to(model.device)
    for scale in range(start, last + 1):
        here = scaled(size, ratio ** (last - scale))
        previous_13HW = enlarge(x_13HW, here)
        z_13HW = torch.zeros_like(previous_13HW)
        if generator is not None:
            z_13HW = model.sigmas[scale] * noise(scale, here, generator)
        x_13HW = model.generators[scale](z_13HW, previous_13HW)
    levels_3HW: NDArray[np.float32] = ((x_13HW[0] + 1) * 127.5).clamp(0, 255).cpu().numpy()
    return levels_3HW.transpose(1, 2, 0)

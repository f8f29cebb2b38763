"""A (partly) trained pyramid of generators, and its form as tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nucleate.errors import InvalidInput, InvalidModel
from nucleate.learning.checkpoint import prefixed, under
from nucleate.refiner.singan import pyramid
from nucleate.refiner.singan.networks import Discriminator, Generator, build_scale
from nucleate.refiner.singan.pyramid import Size
from nucleate.refiner.singan.settings import Settings

WEIGHTS, Z_STAR, DRAWS, HARMONIZING = range(4)  # streams of random numbers: adding one does not shift the others


def derived_seed(seed: int, *path: int) -> int:
    """A torch seed below 2**63 that depends on `seed` >= 0 and `path` only; InvalidInput for a negative seed."""
    if seed < 0:
        raise InvalidInput(f"the seed is {seed}: give a whole number of at least 0")
    return int(np.random.SeedSequence([seed, *path]).generate_state(1, np.uint64)[0]) % 2**63


def noise(scale: int, size: Size, generator: torch.Generator) -> Tensor:
    """Standard normal 13HW on the generator's device; at the coarsest scale the three channels are the same plane.

    There the image grows out of the noise alone, and coloured noise would have to be made grey first.
    """
    planes = 1 if scale == 0 else 3
    return torch.randn((1, planes, *size), generator=generator, device=generator.device).expand(1, 3, *size)


@dataclass
class Model:
    """Scales 0 (coarsest) to `trained_scales` - 1 are trained; `sizes` are those of all scales of the training image.

    `sigmas` are the noise amplitudes per trained scale; `discriminator` is the last trained one, from which the next goes on.
    """

    settings: Settings
    seed: int
    sizes: Sequence[Size]
    generators: list[Generator]
    sigmas: list[float]
    discriminator: Discriminator | None
    device: torch.device

    @property
    def trained_scales(self) -> int:
        """Number of trained scales."""
        return len(self.generators)

    def z_star(self) -> Tensor:
        """The fixed noise that must give back the image, 13HW at the coarsest scale; all finer scales have none."""
        generator = torch.Generator().manual_seed(derived_seed(self.seed, Z_STAR))
        return noise(0, self.sizes[0], generator).to(self.device)


def new_model(size: Size, settings: Settings, seed: int, device: torch.device) -> Model:
    """A model for an image of `size` with no scale trained yet."""
    derived_seed(seed)
    return Model(settings, seed, pyramid.sizes(size, settings), [], [], None, device)


@torch.no_grad()
def reconstruct(model: Model) -> Tensor | None:
    """What z* gives at the finest trained scale, 13HW; None before the first."""
    x_13HW: Tensor | None = None
    for scale, generator in enumerate(model.generators):
        if x_13HW is None:
            z_13HW = model.sigmas[0] * model.z_star()
            x_13HW = generator(z_13HW, torch.zeros_like(z_13HW))
        else:
            previous_13HW = pyramid.enlarge(x_13HW, model.sizes[scale])
            x_13HW = generator(torch.zeros_like(previous_13HW), previous_13HW)
    return x_13HW


@torch.no_grad()
def sample_image(model: Model, generator: torch.Generator) -> Tensor | None:
    """A random image of the finest trained scale, 13HW; None before the first."""
    x_13HW: Tensor | None = None
    for scale, network in enumerate(model.generators):
        z_13HW = model.sigmas[scale] * noise(scale, model.sizes[scale], generator)
        x_13HW = network(z_13HW, torch.zeros_like(z_13HW) if x_13HW is None else pyramid.enlarge(x_13HW, model.sizes[scale]))
    return x_13HW


def to_tensors(model: Model) -> dict[str, Tensor]:
    """Everything but the settings, on the CPU; a training that goes on from it ends with the same tensors."""
    tensors = {
        "seed": torch.tensor(model.seed % 2**63),
        "sizes": torch.tensor([list(size) for size in model.sizes], dtype=torch.int64),
        "sigmas": torch.tensor(model.sigmas, dtype=torch.float64),
    }
    for scale, generator in enumerate(model.generators):
        tensors |= prefixed(f"generator.{scale}.", generator.state_dict())
    if model.discriminator is not None:
        tensors |= prefixed("discriminator.", model.discriminator.state_dict())
    return {name: tensor.detach().cpu().clone() for name, tensor in tensors.items()}


def from_tensors(tensors: Mapping[str, Tensor], settings: Settings, device: torch.device) -> Model:
    """The model that `to_tensors` took apart.

    Raises:
        InvalidModel: tensors are missing, not finite, or of other settings.
    """
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values()):
        raise InvalidModel("the SinGAN model has weights that are not finite; train it again")
    try:
        sizes = [(int(height), int(width)) for height, width in tensors["sizes"].tolist()]
        sigmas = [float(sigma) for sigma in tensors["sigmas"].tolist()]
        model = Model(settings, int(tensors["seed"]), sizes, [], sigmas, None, device)
        for scale in range(len(sigmas)):
            generator, discriminator = build_scale(settings.channels_at(scale), 0)
            generator.load_state_dict(under(f"generator.{scale}.", tensors))
            model.generators.append(generator.eval().requires_grad_(requires_grad=False).to(device))
        if sigmas:
            discriminator.load_state_dict(under("discriminator.", tensors))
            model.discriminator = discriminator.to(device)
    except (KeyError, RuntimeError, ValueError) as error:
        raise InvalidModel("the SinGAN model is damaged or was trained with other settings") from error
    if sizes != pyramid.sizes(sizes[-1], settings) or len(sigmas) > len(sizes):
        raise InvalidModel("the SinGAN model was trained on another pyramid; use the settings it was trained with")
    return model

"""The whole pipeline of report section 5.2: learn the image, harmonize what was pasted into it, verify the masks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nucleate.errors import EmptyInput, InvalidMask, SizeMismatch
from nucleate.refiner.singan.harmonize import harmonize
from nucleate.refiner.singan.mask_verification import VerifiedPair, verify_masks
from nucleate.refiner.singan.model import Model, from_tensors, to_tensors
from nucleate.refiner.singan.settings import Settings
from nucleate.refiner.singan.training import Losses, train


def harmonize_composite(  # noqa: PLR0917 - a harmonization has this many parts
    image_HW3: NDArray[np.uint8],
    composite_HW3: NDArray[np.uint8],
    instances_HW: NDArray[np.int32],
    pasted: Sequence[int],
    settings: Settings,
    seed: int,
    *,
    inject_scale: int | None = None,
    device: torch.device | None = None,
    saved: Mapping[str, Tensor] | None = None,
    on_step: Callable[[int, int, Losses], None] = lambda _step, _total, _losses: None,
    on_scale: Callable[[Mapping[str, Tensor]], None] = lambda _tensors: None,
) -> VerifiedPair:
    """Trains on `image_HW3`, harmonizes the pasted nuclei of the composite and checks their masks.

    Args:
        image_HW3: uint8 RGB, without what was pasted.
        composite_HW3: uint8 RGB of the same size.
        instances_HW: int32, the map of the composite.
        pasted: labels of the map that were pasted.
        settings: of the pyramid.
        seed: of training.
        inject_scale: see `harmonize`.
        device: where to compute; the CPU by default.
        saved: tensors that `on_scale` was given, to go on from.
        on_step: steps done, their total, losses; may raise to stop.
        on_scale: called after every scale with what `saved` takes.

    Raises:
        EmptyInput: no label is said to be pasted.
        SizeMismatch: image, composite and map differ in size.
        InvalidMask: a pasted label does not occur in the map.
        And what training and `harmonize` raise.
    """
    if not image_HW3.shape[:2] == composite_HW3.shape[:2] == instances_HW.shape:
        sizes = ", ".join(str(each.shape[:2]) for each in (image_HW3, composite_HW3, instances_HW))
        raise SizeMismatch(f"harmonization: image, composite and instance map differ in size: {sizes}")
    if not pasted:
        raise EmptyInput("harmonization got no pasted labels: name the nuclei to blend")
    missing = sorted(set(pasted) - set(np.unique(instances_HW[instances_HW > 0]).tolist()))
    if missing:
        raise InvalidMask(f"the pasted nucleus {missing[0]} does not occur in the instance map")
    device = device or torch.device("cpu")
    model = from_tensors(saved, settings, device) if saved else None

    def finished(part: Model) -> None:
        on_scale(to_tensors(part))

    model = train(image_HW3, settings, seed, on_step=on_step, on_scale=finished, model=model, device=device)
    blended_HW3 = harmonize(model, composite_HW3, np.isin(instances_HW, pasted), inject_scale=inject_scale)
    return verify_masks(composite_HW3, blended_HW3, instances_HW, pasted)

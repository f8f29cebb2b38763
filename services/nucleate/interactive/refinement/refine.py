"""Refinement by any method, of one frame or of many."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nucleate.interactive.cancellation import CancellationCheck
from nucleate.interactive.clicks import Click
from nucleate.interactive.networks.interactive_network import STRIDE, InteractiveNetwork
from nucleate.interactive.refinement import gauss_newton
from nucleate.interactive.refinement.click_constraints import ClickConstraints
from nucleate.interactive.refinement.gauss_newton import GaussNewton
from nucleate.interactive.refinement.lbfgs import BestIterate, Objective, minimise
from nucleate.interactive.refinement.modulation import (
    INERTIAL_WEIGHT,
    AuxiliaryParameters,
    FeatureScaleBias,
    auxiliary_parameters,
)
from nucleate.interactive.refinement.options import EncoderInputs, Method, RefinementOptions, RefinementResult


def refine(
    network: InteractiveNetwork,
    features_1CHW: Tensor,
    clicks: Sequence[Click],
    delta: NDArray[np.float32] | None = None,
    options: RefinementOptions | None = None,
    *,
    inputs: EncoderInputs | None = None,
    cancelled: CancellationCheck | None = None,
) -> RefinementResult:
    """Probability of the nucleus after refinement; one head pass and no evaluation when all clicks are obeyed as it is.

    Args:
        network: in inference mode; its parameters must not require gradients.
        features_1CHW: encoder output at stride 4.
        clicks: clicks in the frame's pixels, at most one per pixel; those outside are left out.
        delta: where to start, from the last click; None, or one of another method = no change.
        options: method, limits and weights.
        inputs: the encoder's inputs; needed by BRS and RGB-BRS only.
        cancelled: asked between evaluations.

    Raises:
        errors.Cancelled: `cancelled` said so.
        errors.InvalidInput: BRS or RGB-BRS without `inputs`.
    """
    options, network = options or RefinementOptions(), network.with_selected_mask(features_1CHW)
    height, width = STRIDE * features_1CHW.shape[2], STRIDE * features_1CHW.shape[3]
    constraints = _constraints(options.method, clicks, height, width, features_1CHW.device)
    parameters = auxiliary_parameters(options.method, network, features_1CHW, inputs)
    start, probability_HW = _start(parameters, None if options.method is Method.NONE else delta, features_1CHW.device)
    if probability_HW is None:
        return RefinementResult(np.zeros((height, width), np.float32), np.zeros(0, np.float32), 0, obeyed=False)
    obeyed = constraints.satisfied(probability_HW, clicked_only=options.method is Method.GAUSS_NEWTON)
    limit = 0 if options.method is Method.NONE or not len(constraints.pixels) else options.most_evaluations
    if (obeyed and options.early_stop) or limit < 1:
        return _result(parameters, probability_HW, start, 0, obeyed=obeyed)
    solve = _gauss_newton if options.method is Method.GAUSS_NEWTON else _lbfgs
    best = solve(parameters, constraints, start, options, cancelled)
    if best.probability is None:
        return _result(parameters, probability_HW, start, best.evaluations, obeyed=obeyed)
    return _result(parameters, best.probability, best.delta, best.evaluations, obeyed=best.obeyed)


def _lbfgs(
    parameters: AuxiliaryParameters,
    constraints: ClickConstraints,
    start: Tensor,
    options: RefinementOptions,
    cancelled: CancellationCheck | None,
) -> BestIterate:
    inertial_weight = INERTIAL_WEIGHT if options.inertial_weight is None else options.inertial_weight
    objective = Objective(
        parameters, constraints, inertial_weight, options.most_evaluations, early_stop=options.early_stop, cancelled=cancelled
    )
    return minimise(objective, start)


def _gauss_newton(
    parameters: AuxiliaryParameters,
    constraints: ClickConstraints,
    start: Tensor,
    options: RefinementOptions,
    cancelled: CancellationCheck | None,
) -> BestIterate:
    """Gauss-Newton steps; where they leave a click disobeyed, what remains of the evaluations goes to L-BFGS."""
    assert isinstance(parameters, FeatureScaleBias)
    inertial_weight = gauss_newton.INERTIAL_WEIGHT if options.inertial_weight is None else options.inertial_weight
    if options.early_stop:
        options = replace(options, most_evaluations=min(options.most_evaluations, gauss_newton.MAX_EVALUATIONS))
    share = math.ceil(gauss_newton.EVALUATION_SHARE * options.most_evaluations)
    best = GaussNewton(
        parameters, constraints, inertial_weight, share, early_stop=options.early_stop, cancelled=cancelled
    ).minimise(start)
    if best.obeyed and options.early_stop:
        return best
    rest = replace(options, most_evaluations=options.most_evaluations - best.evaluations, inertial_weight=None)
    other = _lbfgs(parameters, constraints, start if best.probability is None else best.delta, rest, cancelled)
    other.evaluations += best.evaluations
    return other if other.obeyed or best.probability is None else replace(best, evaluations=other.evaluations)


def refine_many(
    network: InteractiveNetwork,
    features_NCHW: Tensor,
    clicks: Sequence[Sequence[Click]],
    deltas: Sequence[NDArray[np.float32] | None],
    options: RefinementOptions | None = None,
    *,
    inputs: EncoderInputs | None = None,
    cancelled: CancellationCheck | None = None,
) -> list[RefinementResult]:
    """`refine` for many frames of one size; new objects are decoded in one head pass and refined only where it disobeys.

    Raises:
        errors.Cancelled: `cancelled` said so.
        errors.InvalidInput: BRS or RGB-BRS without `inputs`.
    """
    count = len(clicks)
    plain: list[RefinementResult | None] = [None] * count
    if count > 1 and all(delta is None for delta in deltas):
        plain = _unrefined(network, features_NCHW, clicks, options or RefinementOptions(), inputs)
    return [
        plain[i]
        or refine(
            network,
            features_NCHW[i : i + 1],
            clicks[i],
            deltas[i],
            options,
            inputs=inputs.item(i) if inputs else None,
            cancelled=cancelled,
        )
        for i in range(count)
    ]


def _unrefined(
    network: InteractiveNetwork,
    features_NCHW: Tensor,
    clicks: Sequence[Sequence[Click]],
    options: RefinementOptions,
    inputs: EncoderInputs | None,
) -> list[RefinementResult | None]:
    """What obeys its clicks as it is; None for what must be refined."""
    with torch.no_grad():
        probability_NHW = network.decode(features_NCHW)[0][:, 0].sigmoid()
    height, width = probability_NHW.shape[1:]
    found: list[RefinementResult | None] = []
    for i, probability_HW in enumerate(probability_NHW):
        constraints = _constraints(options.method, clicks[i], height, width, features_NCHW.device)
        if constraints.satisfied(probability_HW, clicked_only=options.method is Method.GAUSS_NEWTON) and options.early_stop:
            parameters = auxiliary_parameters(
                options.method, network, features_NCHW[i : i + 1], inputs.item(i) if inputs else None
            )
            unchanged = torch.zeros(parameters.length, device=features_NCHW.device)
            found.append(_result(parameters, probability_HW, unchanged, 0, obeyed=True))
        else:
            found.append(None)
    return found


def _constraints(method: Method, clicks: Sequence[Click], height: int, width: int, device: torch.device) -> ClickConstraints:
    return (ClickConstraints.points if method is Method.BRS else ClickConstraints.windows)(clicks, height, width, device)


def _start(
    parameters: AuxiliaryParameters, delta: NDArray[np.float32] | None, device: torch.device
) -> tuple[Tensor, Tensor | None]:
    """Where to start, from the last click's change if that gives finite numbers, and the probability; None = not finite."""
    unchanged = torch.zeros(parameters.length, device=device)
    given = unchanged if delta is None or len(delta) != parameters.length else torch.from_numpy(delta).to(device)
    for start in (given, unchanged):
        with torch.no_grad():
            probability_HW = parameters.logits(start).sigmoid()
        if bool(probability_HW.isfinite().all()):
            return start, probability_HW
    return unchanged, None


def _result(
    parameters: AuxiliaryParameters, probability_HW: Tensor, delta: Tensor, evaluations: int, *, obeyed: bool
) -> RefinementResult:
    kept = delta.cpu().numpy() if parameters.carried_over else np.zeros(0, np.float32)
    return RefinementResult(probability_HW.cpu().numpy(), kept, evaluations, obeyed)

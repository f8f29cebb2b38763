"""Between messages and the refiner's own values."""

from __future__ import annotations

import hashlib

from nucleate.errors import InvalidInput
from nucleate.refiner.mask_gate.gate import GateResult
from nucleate.refiner.profiles import Profile, Psi, profile_named
from nucleate.refiner.singan.mask_verification import Decision, NucleusMask
from nucleate.v1 import refiner_pb2 as pb

_MASKS = {
    Decision.KEPT: pb.HARMONIZED_MASK_KEPT,
    Decision.REESTIMATED: pb.HARMONIZED_MASK_REESTIMATED,
    Decision.REJECTED: pb.HARMONIZED_MASK_REJECTED,
}


def profile_of(request: pb.RefinerServiceTrainRequest) -> Profile:
    """The profile asked for, with its options.

    Raises:
        errors.InvalidInput: an option is unknown or out of range.
        errors.UnknownProfile: no profile of that name.
    """
    options = request.options
    if options.psi not in pb.FeatureTransform.values():
        raise InvalidInput(f"feature transform {options.psi} is unknown here: choose one of the protocol's")
    psi: Psi = "gradient" if options.psi == pb.FEATURE_TRANSFORM_GRADIENT else "identity"
    return profile_named(request.profile).departing(psi, options.hard, options.r1)


def verdict_message(result: GateResult) -> pb.GateVerdict:
    """What the mask gate said."""
    return pb.GateVerdict(
        accepted=result.accepted,
        reason=result.reason,
        shift_median_px=result.shift_median_px,
        shift_p95_px=result.shift_p95_px,
        vanished=result.vanished,
        hallucinated=result.hallucinated,
    )


def nucleus_message(nucleus: NucleusMask) -> pb.HarmonizedNucleus:
    """What became of the mask of a pasted nucleus."""
    return pb.HarmonizedNucleus(label=nucleus.label, mask=_MASKS[nucleus.decision], iou=nucleus.iou, reason=nucleus.reason)


def dataset_digest(request: pb.RefinerServiceTrainRequest) -> str:
    """Names what a refiner was trained on."""
    blobs = [blob for sample in request.synthetic for blob in (sample.image, sample.instances)]
    digests = [blob.sha256 for blob in [*blobs, *(image.data for image in request.real)]]
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()

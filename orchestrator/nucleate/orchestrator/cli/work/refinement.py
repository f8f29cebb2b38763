"""refine: synthetic pairs in, more realistic ones with the same masks out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nucleate.errors import InvalidInput

if TYPE_CHECKING:
    from nucleate.orchestrator.cli.services import ServiceConnections
    from nucleate.v1 import common_pb2
    from nucleate.v1 import refiner_pb2 as pb

PSI = ("identity", "gradient")


@dataclass(frozen=True)
class RefinementOptions:
    """A refiner trained towards `real` images, or an earlier `model`; the options are `RefinerOptions`."""

    real: Path | None
    model: str
    save_model: Path | None
    profile: str
    seed: int
    psi: str
    hard: float
    r1: float
    importance: bool

    def check(self) -> None:
        """Raise `InvalidInput` for what cannot be meant, before anything starts."""
        from nucleate.client.files.model_folders import check_model
        from nucleate.orchestrator.profiles import profile_named

        if (self.real is None) == (not self.model):
            raise InvalidInput("give --real IMAGES to learn from, or --model REF, and not both")
        if self.psi not in PSI:
            raise InvalidInput(f"unknown --psi '{self.psi}': choose one of {', '.join(PSI)}")
        profile_named(self.profile)
        if self.model:
            check_model(self.model, "refiner")


def refine_all(folder: Path, out: Path, options: RefinementOptions) -> None:
    """Write OUT/images, OUT/masks, OUT/refinement.json with what the gate said of each, and OUT/preview.png."""
    from nucleate.client.files.input_files import images_in, masks_in, paired
    from nucleate.client.files.model_folders import save_model
    from nucleate.client.files.output_files import output_folder
    from nucleate.client.files.upload import upload_images, upload_masks
    from nucleate.orchestrator.cli.services import ensure_services, new_job_id
    from nucleate.orchestrator.cli.terminal.printing import print_notice
    from nucleate.orchestrator.cli.terminal.progress import progress_display
    from nucleate.v1 import common_pb2
    from nucleate.v1 import refiner_pb2 as pb

    options.check()
    images, masks = images_in(folder / "images", "DIR/images"), masks_in(folder / "masks", "DIR/masks")
    pairs = paired(images, masks, folder / "masks")
    real = images_in(options.real, "--real") if options.real else []
    with output_folder(out) as staging, progress_display() as display, ensure_services(["refiner"], display) as services:
        stored = upload_masks(services.blobs, [mask for _, mask in pairs], sealed=False)
        synthetic = [
            common_pb2.LabelledImage(id=image.id, image=image.data, instances=stored[image.id])
            for image in upload_images(services.blobs, [image for image, _ in pairs])
        ]
        model = _model(services, options, synthetic, upload_images(services.blobs, real))
        if options.save_model:
            save_model(model, options.save_model, services.blobs)
        client = services.client("refiner")
        request = pb.RefineRequest(
            job_id=new_job_id("refine"), model=model, synthetic=synthetic, preview=True, importance=options.importance
        )
        result = client.follow(client.stub.Refine, request, display.update)
        _write(services, result, staging)
    refused = [each for each in result.samples if not each.gate.accepted]
    if refused:
        print_notice(f"{len(refused)} of {len(result.samples)} images stay as they were: {refused[0].gate.reason}")
    if result.importance_off:
        print_notice(f"no importance weights: {result.importance_off}")
    print(out.absolute())


def _model(
    services: ServiceConnections,
    options: RefinementOptions,
    synthetic: list[common_pb2.LabelledImage],
    real: list[common_pb2.Image],
) -> common_pb2.Model:
    from nucleate.client.files.model_folders import load_model
    from nucleate.orchestrator.cli.services import new_job_id
    from nucleate.v1 import refiner_pb2 as pb

    if not real:
        return load_model(options.model, services.blobs, "refiner")
    client = services.client("refiner")
    request = pb.RefinerServiceTrainRequest(
        job_id=new_job_id("train-refiner"),
        synthetic=synthetic,
        real=real,
        profile=options.profile,
        seed=options.seed,
        options=pb.RefinerOptions(psi=f"FEATURE_TRANSFORM_{options.psi.upper()}", hard=options.hard, r1=options.r1),
    )
    trained: common_pb2.Model = client.follow(client.stub.Train, request, services.display.update).model
    return trained


def _write(services: ServiceConnections, result: pb.RefineResult, staging: Path) -> None:
    from nucleate.client.files.output_files import safe_name
    from nucleate.orchestrator.cli.work.stored_files import write_blob

    for part in ("images", "masks"):
        (staging / part).mkdir()
    for each in result.samples:
        name = safe_name(each.sample.id)
        write_blob(services, each.sample.image, staging / "images" / name)
        write_blob(services, each.sample.instances, staging / "masks" / name)
    (staging / "preview.png").write_bytes(services.blobs.get(result.preview))
    document = {
        "effective_sample_size": result.effective_sample_size,
        "importance_off": result.importance_off,
        "images": [
            {
                "id": each.sample.id,
                "accepted": each.gate.accepted,
                "reason": each.gate.reason,
                "shift_median_px": each.gate.shift_median_px,
                "shift_p95_px": each.gate.shift_p95_px,
                "vanished": each.gate.vanished,
                "hallucinated": each.gate.hallucinated,
                "weight": each.weight,
            }
            for each in result.samples
        ],
    }
    (staging / "refinement.json").write_text(json.dumps(document, indent=1), encoding="utf-8")

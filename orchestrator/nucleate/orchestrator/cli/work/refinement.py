"""refine: synthetic pairs in, more realistic ones with the same masks out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nucleate.errors import InvalidInput

if TYPE_CHECKING:
    from nucleate.orchestrator.cli.services import Session
    from nucleate.v1 import common_pb2
    from nucleate.v1 import refiner_pb2 as pb

PSI = ("identity", "gradient")


@dataclass(frozen=True)
class Wish:
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


def refine_all(folder: Path, out: Path, wish: Wish) -> None:
    """Write OUT/images, OUT/masks, OUT/refinement.json with what the gate said of each, and OUT/preview.png."""
    from nucleate.client.files.input_files import images_in, masks_in, paired
    from nucleate.client.files.model_folders import save_model
    from nucleate.client.files.output_files import output_folder
    from nucleate.client.files.upload import upload_images, upload_masks
    from nucleate.orchestrator.cli.services import any_services, new_job_id
    from nucleate.orchestrator.cli.terminal.printing import tell
    from nucleate.orchestrator.cli.terminal.progress import progress_display
    from nucleate.v1 import common_pb2
    from nucleate.v1 import refiner_pb2 as pb

    wish.check()
    images, masks = images_in(folder / "images", "DIR/images"), masks_in(folder / "masks", "DIR/masks")
    pairs = paired(images, masks, folder / "masks")
    real = images_in(wish.real, "--real") if wish.real else []
    with output_folder(out) as staging, progress_display() as display, any_services(["refiner"], display) as session:
        stored = upload_masks(session.blobs, [mask for _, mask in pairs], sealed=False)
        synthetic = [
            common_pb2.LabelledImage(id=image.id, image=image.data, instances=stored[image.id])
            for image in upload_images(session.blobs, [image for image, _ in pairs])
        ]
        model = _model(session, wish, synthetic, upload_images(session.blobs, real))
        if wish.save_model:
            save_model(model, wish.save_model, session.blobs)
        remote = session.remote("refiner")
        request = pb.RefineRequest(
            job_id=new_job_id("refine"), model=model, synthetic=synthetic, preview=True, importance=wish.importance
        )
        result = remote.follow(remote.stub.Refine, request, display.update)
        _write(session, result, staging)
    refused = [each for each in result.samples if not each.gate.accepted]
    if refused:
        tell(f"{len(refused)} of {len(result.samples)} images stay as they were: {refused[0].gate.reason}")
    if result.importance_off:
        tell(f"no importance weights: {result.importance_off}")
    print(out.absolute())


def _model(
    session: Session, wish: Wish, synthetic: list[common_pb2.LabelledImage], real: list[common_pb2.Image]
) -> common_pb2.Model:
    from nucleate.client.files.model_folders import load_model
    from nucleate.orchestrator.cli.services import new_job_id
    from nucleate.v1 import refiner_pb2 as pb

    if not real:
        return load_model(wish.model, session.blobs, "refiner")
    remote = session.remote("refiner")
    request = pb.RefinerServiceTrainRequest(
        job_id=new_job_id("train-refiner"),
        synthetic=synthetic,
        real=real,
        profile=wish.profile,
        seed=wish.seed,
        options=pb.RefinerOptions(psi=f"FEATURE_TRANSFORM_{wish.psi.upper()}", hard=wish.hard, r1=wish.r1),
    )
    trained: common_pb2.Model = remote.follow(remote.stub.Train, request, session.display.update).model
    return trained


def _write(session: Session, result: pb.RefineResult, staging: Path) -> None:
    from nucleate.client.files.output_files import safe_name
    from nucleate.orchestrator.cli.work.stored_files import write_blob

    for part in ("images", "masks"):
        (staging / part).mkdir()
    for each in result.samples:
        name = safe_name(each.sample.id)
        write_blob(session, each.sample.image, staging / "images" / name)
        write_blob(session, each.sample.instances, staging / "masks" / name)
    (staging / "preview.png").write_bytes(session.blobs.get(result.preview))
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

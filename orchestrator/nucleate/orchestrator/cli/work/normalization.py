"""normalize: images or slides in, the same in a target's colours out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nucleate.errors import InvalidInput
from nucleate.orchestrator.cli.terminal.options import METHODS

if TYPE_CHECKING:
    from nucleate.client.files.input_files import SourceFile
    from nucleate.orchestrator.cli.services import ServiceConnections
    from nucleate.v1 import common_pb2

_MODES = ("offset", "pixel", "density")


@dataclass(frozen=True)
class NormalizationOptions:
    """How to normalize: by a method fitted to or trained on `target`, or by an earlier `model`."""

    method: str
    mode: str
    target: Path | None
    model: str
    save_model: Path | None
    profile: str
    seed: int

    def check(self) -> None:
        """Raise `InvalidInput` for what cannot be meant, before anything starts."""
        from nucleate.client.files.model_folders import check_model
        from nucleate.orchestrator.profiles import profile_named

        if self.method not in METHODS:
            raise InvalidInput(f"unknown method '{self.method}': choose one of {', '.join(METHODS)}")
        if self.mode not in _MODES:
            raise InvalidInput(f"unknown mode '{self.mode}': choose one of {', '.join(_MODES)}")
        if (self.target is None) == (not self.model):
            raise InvalidInput("give --target IMG to take colours from, or --model REF, and not both")
        profile_named(self.profile)
        if self.model:
            check_model(self.model, "colornorm")


def normalize_all(images: Path, out: Path, options: NormalizationOptions, *, all_tiffs: bool) -> None:
    """Write OUT/NAME.png of every image, or OUT/NAME.tif and OUT/NAME.png (before and after) of every slide."""
    from nucleate.client.files.input_files import images_in, one_image, slides_in
    from nucleate.client.files.model_folders import save_model
    from nucleate.client.files.output_files import output_folder
    from nucleate.orchestrator.cli.services import ensure_services
    from nucleate.orchestrator.cli.terminal.progress import progress_display

    options.check()
    slides = slides_in(images, all_tiffs=all_tiffs)
    files = [] if slides else images_in(images)
    target = one_image(options.target, "--target") if options.target else None
    with output_folder(out) as staging, progress_display() as display, ensure_services(["colornorm"], display) as services:
        model = _model(services, options, target)
        if options.save_model:
            save_model(model, options.save_model, services.blobs)
        if slides:
            _normalize_slides(services, slides, model, staging)
        else:
            _normalize_images(services, files, model, staging)
    print(out.absolute())


def _normalize_images(
    services: ServiceConnections, files: Sequence[SourceFile], model: common_pb2.Model, staging: Path
) -> None:
    from nucleate.client.files.output_files import safe_name
    from nucleate.client.files.upload import upload_images
    from nucleate.orchestrator.cli.services import new_job_id
    from nucleate.orchestrator.cli.terminal.printing import print_notice
    from nucleate.orchestrator.cli.work.stored_files import write_blob
    from nucleate.v1 import colornorm_pb2 as pb

    client = services.client("colornorm")
    request = pb.NormalizeRequest(job_id=new_job_id("normalize"), images=upload_images(services.blobs, files), model=model)
    for each in client.follow(client.stub.Normalize, request, services.display.update).images:
        write_blob(services, each.image.data, staging / safe_name(each.image.id))
        if each.status != "normalized":
            print_notice(f"{each.image.id}: passed through unchanged ({each.status})")


def _normalize_slides(services: ServiceConnections, slides: Sequence[Path], model: common_pb2.Model, staging: Path) -> None:
    from nucleate.client.files.output_files import safe_name
    from nucleate.orchestrator.cli.services import new_job_id
    from nucleate.orchestrator.cli.terminal.printing import print_notice
    from nucleate.orchestrator.cli.work.stored_files import write_blob
    from nucleate.v1 import colornorm_pb2 as pb
    from nucleate.v1 import common_pb2

    client = services.client("colornorm")
    for path in slides:
        slide = common_pb2.Image(id=path.stem, data=services.blobs.put_file(path, "image/tiff"))
        request = pb.NormalizeSlideRequest(job_id=new_job_id("normalize-slide"), slide=slide, model=model)
        result = client.follow(client.stub.NormalizeSlide, request, services.display.update)
        if result.status != "normalized":
            print_notice(f"{path.stem}: left as it is ({result.status})")
            continue
        services.blobs.get_file(result.slide.data, staging / f"{safe_name(path.stem)}.tif")
        write_blob(services, result.overview, staging / safe_name(path.stem))


def _model(services: ServiceConnections, options: NormalizationOptions, target: SourceFile | None) -> common_pb2.Model:
    """The model that was named, or one fitted to or trained on the target."""
    from nucleate.client.files.model_folders import load_model
    from nucleate.client.files.upload import upload_images
    from nucleate.orchestrator.cli.services import new_job_id
    from nucleate.v1 import colornorm_pb2 as pb

    if target is None:
        return load_model(options.model, services.blobs, "colornorm")
    client, (image,) = services.client("colornorm"), upload_images(services.blobs, [target])
    if options.method == "colornormnet":
        request: Any = pb.ColorNormServiceTrainRequest(
            job_id=new_job_id("colornorm"),
            target=image,
            profile=options.profile,
            seed=options.seed,
            mode=f"CHANGE_MODE_{options.mode.upper()}",
        )
        trained: common_pb2.Model = client.follow(client.stub.Train, request, services.display.update).model
        return trained
    method = f"NORMALIZATION_METHOD_{options.method.upper()}"
    fitted: common_pb2.Model = client.call(client.stub.Fit, pb.FitRequest(method=method, target=image)).model
    return fitted


def list_methods() -> None:
    """Print a line per method."""
    from nucleate.orchestrator.cli.services import ensure_services
    from nucleate.orchestrator.cli.terminal.printing import show_table
    from nucleate.orchestrator.cli.terminal.progress import progress_display
    from nucleate.v1 import colornorm_pb2 as pb

    with progress_display() as display, ensure_services(["colornorm"], display) as services:
        client = services.client("colornorm")
        methods = client.call(client.stub.ListMethods, pb.ListMethodsRequest()).methods
    rows = [(m.name, f"{m.milliseconds:.0f} ms", "train" if m.trained else "fit", m.source) for m in methods]
    show_table(("method", "per megapixel", "needs", "from"), rows)

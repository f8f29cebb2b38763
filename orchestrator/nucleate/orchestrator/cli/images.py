"""synthesize and normalize: images in, images out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nucleate.orchestrator.cli.options import Images, Out, Profile, Seed

if TYPE_CHECKING:
    from nucleate.orchestrator.cli.session import Session
    from nucleate.v1 import common_pb2


_SUFFIXES = {
    "image/png": ".png",
    "image/tiff": ".tif",
    "image/jpeg": ".jpg",
    "image/webp": ".webp",
    "application/geo+json": ".geojson",
}


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(synthesize)
    app.command()(normalize)


def synthesize(
    images: Images,
    *,
    out: Out,
    count: Annotated[int, typer.Option(min=1, max=100_000, help="How many pairs to draw.")] = 10,
    seed: Seed = 0,
    profile: Profile = "cpu",
    size: Annotated[int, typer.Option(min=0, max=8192, help="Side in pixels; 0 takes the profile's.")] = 0,
) -> None:
    """Draw synthetic images with their instance masks after un-annotated images: OUT/images, OUT/masks."""
    from nucleate.client.intake import images_in
    from nucleate.client.output import output_folder, safe_name
    from nucleate.client.upload import upload_images
    from nucleate.orchestrator.cli.console import tell
    from nucleate.orchestrator.cli.progress import progress_display
    from nucleate.orchestrator.cli.session import any_services, new_job_id
    from nucleate.orchestrator.profiles import profile_named
    from nucleate.v1 import synthesis_pb2

    profile_named(profile)
    files = images_in(images)
    with output_folder(out) as staging, progress_display() as display, any_services(["synthesis"], display) as session:
        remote = session.remote("synthesis")
        request = synthesis_pb2.SynthesizeRequest(
            job_id=new_job_id("synthesize"),
            images=upload_images(session.blobs, files),
            count=count,
            seed=seed,
            profile=profile,
            size=size,
        )
        result = remote.follow(remote.stub.Synthesize, request, display.update)
        for folder in ("images", "masks"):
            (staging / folder).mkdir()
        for sample in result.samples:
            name = safe_name(sample.id)
            write_blob(session, sample.image, staging / "images" / name)
            write_blob(session, sample.instances, staging / "masks" / name)
        (staging / "statistics.json").write_bytes(session.blobs.get(result.statistics))
    if result.nuclei_placed < result.nuclei_requested:
        tell(f"{result.nuclei_placed} of {result.nuclei_requested} nuclei placed: more would overlap too much")
    print(out.absolute())


def normalize(
    images: Images,
    *,
    target: Annotated[Path, typer.Option(metavar="IMG", help="The image whose colours the others take on.")],
    out: Out,
    method: Annotated[str, typer.Option(help="reinhard or colornormnet.")] = "reinhard",
    model: Annotated[str, typer.Option(metavar="REF", help="A trained ColorNormNet; default: train one on IMG.")] = "",
    profile: Profile = "cpu",
    seed: Seed = 0,
) -> None:
    """Give images the colours of a target image."""
    from nucleate.client.intake import images_in
    from nucleate.client.models import check_model
    from nucleate.client.output import output_folder, safe_name
    from nucleate.client.upload import upload_images
    from nucleate.errors import InvalidInput
    from nucleate.orchestrator.cli.console import tell
    from nucleate.orchestrator.cli.progress import progress_display
    from nucleate.orchestrator.cli.session import any_services, new_job_id
    from nucleate.orchestrator.profiles import profile_named
    from nucleate.v1 import colornorm_pb2 as pb

    methods = {
        "reinhard": pb.NormalizationMethod.NORMALIZATION_METHOD_REINHARD,
        "colornormnet": pb.NormalizationMethod.NORMALIZATION_METHOD_COLORNORMNET,
    }
    if method not in methods:
        raise InvalidInput(f"unknown method '{method}': choose one of {', '.join(methods)}")
    profile_named(profile)
    if model:
        check_model(model, "colornorm")
    files, target_files = images_in(images), images_in(target, "--target")
    if len(target_files) != 1:
        raise InvalidInput(f"--target {target} holds {len(target_files)} images: give one image")
    with output_folder(out) as staging, progress_display() as display, any_services(["colornorm"], display) as session:
        remote = session.remote("colornorm")
        (target_image,) = upload_images(session.blobs, target_files)
        request = pb.NormalizeRequest(
            job_id=new_job_id("normalize"),
            images=upload_images(session.blobs, files),
            method=methods[method],
            target=target_image,
        )
        if method == "colornormnet":
            request.model.CopyFrom(_colornormnet(session, model, target_image, profile, seed))
        for each in remote.follow(remote.stub.Normalize, request, display.update).images:
            write_blob(session, each.image.data, staging / safe_name(each.image.id))
            if each.status != "normalized":
                tell(f"{each.image.id}: passed through unchanged ({each.status})")
    print(out.absolute())


def _colornormnet(session: Session, reference: str, target: common_pb2.Image, profile: str, seed: int) -> common_pb2.Model:
    """Load the model that was named, or train one on the target."""
    from nucleate.client.models import load_model
    from nucleate.orchestrator.cli.session import new_job_id
    from nucleate.v1 import colornorm_pb2 as pb

    if reference:
        return load_model(reference, session.blobs, "colornorm")
    remote = session.remote("colornorm")
    request = pb.ColorNormServiceTrainRequest(job_id=new_job_id("colornorm"), target=target, profile=profile, seed=seed)
    model: common_pb2.Model = remote.follow(remote.stub.Train, request, session.display.update).model
    return model


def write_blob(session: Session, blob: common_pb2.Blob, stem: Path) -> Path:
    """Write a blob beside `stem`, with the suffix of its media type."""
    path = stem.with_name(stem.name + _SUFFIXES[blob.media_type])
    path.write_bytes(session.blobs.get(blob))
    return path

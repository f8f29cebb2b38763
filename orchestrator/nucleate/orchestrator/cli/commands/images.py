"""synthesize and normalize: images in, images out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nucleate.orchestrator.cli.terminal.options import METHODS, Images, Json, Out, Profile, Seed


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(synthesize)
    app.command()(refine)
    app.command()(preview)
    app.command()(describe)
    app.command()(normalize)
    app.command()(normalize_methods)


def synthesize(
    images: Images,
    *,
    out: Out,
    count: Annotated[int, typer.Option(min=1, max=100_000, help="How many pairs to draw.")] = 10,
    seed: Seed = 0,
    profile: Profile = "cpu",
    size: Annotated[int, typer.Option(min=0, max=8192, help="Side in pixels; 0 takes the profile's.")] = 0,
    first: Annotated[int, typer.Option(min=0, help="Number of the first pair: machines share a run by ranges.")] = 0,
    restained: Annotated[float | None, typer.Option(min=0, max=1, help="Share of the pairs in stains of other images.")] = None,
) -> None:
    """Draw synthetic images with their instance masks after un-annotated images: OUT/images, OUT/masks."""
    from nucleate.client.files.input_files import images_in
    from nucleate.client.files.output_files import output_folder, safe_name
    from nucleate.client.files.upload import upload_images
    from nucleate.orchestrator.cli.services import ensure_services, new_job_id
    from nucleate.orchestrator.cli.terminal.printing import print_notice
    from nucleate.orchestrator.cli.terminal.progress import progress_display
    from nucleate.orchestrator.cli.work.stored_files import write_blob
    from nucleate.orchestrator.profiles import profile_named
    from nucleate.v1 import synthesis_pb2

    profile_named(profile)
    files = images_in(images)
    with output_folder(out) as staging, progress_display() as display, ensure_services(["synthesis"], display) as services:
        client = services.client("synthesis")
        request = synthesis_pb2.SynthesizeRequest(
            job_id=new_job_id("synthesize"),
            images=upload_images(services.blobs, files),
            count=count,
            seed=seed,
            profile=profile,
            size=size,
            first=first,
            restained=restained,
        )
        result = client.follow(client.stub.Synthesize, request, display.update)
        for folder in ("images", "masks"):
            (staging / folder).mkdir()
        for sample in result.samples:
            name = safe_name(sample.id)
            write_blob(services, sample.image, staging / "images" / name)
            write_blob(services, sample.instances, staging / "masks" / name)
        (staging / "statistics.json").write_bytes(services.blobs.get(result.statistics))
    if result.nuclei_placed < result.nuclei_requested:
        print_notice(f"{result.nuclei_placed} of {result.nuclei_requested} nuclei placed: more would overlap too much")
    print(out.absolute())


def refine(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="images/ and masks/, as `nucleate synthesize` writes them.")],
    *,
    out: Out,
    real: Annotated[Path | None, typer.Option(metavar="IMAGES", help="Un-annotated images to become like.")] = None,
    model: Annotated[str, typer.Option(metavar="REF", help="In place of --real: what --save-model has kept.")] = "",
    save_model: Annotated[Path | None, typer.Option(metavar="DIR", help="Keep the refiner.")] = None,
    psi: Annotated[str, typer.Option(help="What may not change: identity (the image) or gradient (its edges).")] = "identity",
    hard: Annotated[float, typer.Option(help="Weight of the task-aware loss, 1e-3 at most is advised.")] = 0.0,
    r1: Annotated[float, typer.Option(help="Weight of the gradient penalty on real images.")] = 0.0,
    importance: Annotated[bool, typer.Option("--importance", help="Weigh images by how real they look.")] = False,
    profile: Profile = "cpu",
    seed: Seed = 0,
) -> None:
    """Make synthetic images more like real ones, adversarially; an image whose nuclei moved stays as it was."""
    from nucleate.orchestrator.cli.work.refinement import RefinementOptions, refine_all

    refine_all(folder, out, RefinementOptions(real, model, save_model, profile, seed, psi, hard, r1, importance))


def preview(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="An un-annotated image.")],
    *,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE.png", help="The picture to write.")],
    seed: Seed = 0,
    profile: Profile = "cpu",
    index: Annotated[int, typer.Option(min=0, help="Which pair of the run with this image alone.")] = 0,
) -> None:
    """Draw one synthetic pair after an image and show it with its outlines, before a whole run is started."""
    from nucleate.orchestrator.cli.work.image_statistics import preview_pair

    preview_pair(image, out, seed=seed, profile=profile, index=index)


def describe(
    images: Images,
    *,
    out: Annotated[Path | None, typer.Option("--out", "-o", metavar="FILE.json", help="Every nucleus and density map.")] = None,
    profile: Profile = "cpu",
    as_json: Json = False,
) -> None:
    """Measure un-annotated images: nuclei, their sizes, density, clustering and stains, without any label."""
    from nucleate.orchestrator.cli.work.image_statistics import describe_all

    describe_all(images, out, profile=profile, as_json=as_json)


def normalize(
    images: Images,
    *,
    out: Out,
    target: Annotated[Path | None, typer.Option(metavar="IMG", help="The image whose colours the others take on.")] = None,
    method: Annotated[str, typer.Option(help=f"{', '.join(METHODS)}; see `nucleate normalize-methods`.")] = "reinhard",
    model: Annotated[str, typer.Option(metavar="REF", help="In place of a target: what --save-model has kept.")] = "",
    mode: Annotated[str, typer.Option(help="Of colornormnet: offset, pixel or density.")] = "offset",
    save_model: Annotated[Path | None, typer.Option(metavar="DIR", help="Keep what was fitted or trained.")] = None,
    slides: Annotated[bool, typer.Option("--slides", help="The TIFFs are whole slides, as .svs, .ndpi and .scn are.")] = False,
    profile: Profile = "cpu",
    seed: Seed = 0,
) -> None:
    """Give images or whole slides the colours of a target image."""
    from nucleate.orchestrator.cli.work.normalization import NormalizationOptions, normalize_all

    normalize_all(images, out, NormalizationOptions(method, mode, target, model, save_model, profile, seed), all_tiffs=slides)


def normalize_methods() -> None:
    """List the methods of `normalize` with what each costs."""
    from nucleate.orchestrator.cli.work.normalization import list_methods

    list_methods()

"""segment and evaluate."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nucleate.orchestrator.cli.terminal.options import Images, Json, Out

if TYPE_CHECKING:
    from nucleate.orchestrator.cli.services import ServiceConnections

VERDICTS = ("found", "missed", "split", "merged", "extra")
SCORES = ("dice1", "dice2", "aji", "ajip", "pq", "dq", "sq")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(segment)
    app.command()(evaluate)


def segment(
    images: Images,
    *,
    model: Annotated[str, typer.Option(metavar="REF", help="A model folder or URI, or 'classical' for the training-free one.")],
    out: Out,
    overlays: Annotated[bool, typer.Option("--overlays", help="Also draw the contours: OUT/overlays.")] = False,
    outlines: Annotated[bool, typer.Option("--outlines", help="Also write the nuclei as GeoJSON: OUT/outlines.")] = False,
    views: Annotated[int, typer.Option(metavar="N", help="Average 1, 2, 4 or 8 views of the image; 0 = the model's own.")] = 0,
    mpp: Annotated[float, typer.Option(metavar="UM", help="Microns per pixel; default: 0.25 (40x), of a slide its own.")] = 0.0,
    slides: Annotated[
        bool, typer.Option("--slides", help="The TIFFs are whole slides, as .svs, .ndpi and .scn always are.")
    ] = False,
) -> None:
    """Segment nuclei: one 16-bit instance PNG per image, named as the image.

    Of a whole slide: its nuclei as GeoJSON for QuPath, and an overview picture.
    """
    from nucleate.client.files.input_files import images_in, slides_in
    from nucleate.client.files.model_folders import check_model, load_model
    from nucleate.client.files.output_files import output_folder, safe_name
    from nucleate.client.files.upload import upload_images
    from nucleate.orchestrator.cli.services import ensure_services, new_job_id
    from nucleate.orchestrator.cli.terminal.progress import progress_display
    from nucleate.orchestrator.cli.work.slide_segmentation import segment_slides
    from nucleate.orchestrator.cli.work.stored_files import write_blob
    from nucleate.v1 import hovernet_pb2

    if model != "classical":
        check_model(model, "hovernet")
    if whole := slides_in(images, all_tiffs=slides):
        segment_slides(whole, model, out, mpp, views)
        return
    files = images_in(images)
    with output_folder(out) as staging, progress_display() as display, ensure_services(["hovernet"], display) as services:
        request = hovernet_pb2.SegmentRequest(job_id=new_job_id("segment"), overlays=overlays, views=views)
        request.outlines, request.microns_per_pixel = outlines, mpp
        if model == "classical":
            request.classical.SetInParent()
        else:
            request.model.CopyFrom(load_model(model, services.blobs, "hovernet"))
        request.images.extend(upload_images(services.blobs, files))
        client = services.client("hovernet")
        result = client.follow(client.stub.Segment, request, display.update)
        for folder in ("overlays",) * overlays + ("outlines",) * outlines:
            (staging / folder).mkdir()
        for each in result.images:
            write_blob(services, each.instances, staging / safe_name(each.id))
            if overlays:
                write_blob(services, each.overlay, staging / "overlays" / safe_name(each.id))
            if outlines:
                write_blob(services, each.outlines, staging / "outlines" / safe_name(each.id))
        if result.warning:
            display.note(f"warning: {result.warning}")
    for each in result.images:
        print(f"{each.id}\t{each.nuclei} nuclei")


def evaluate(
    predicted: Annotated[Path, typer.Argument(metavar="PRED", help="Folder of predicted instance maps or outlines, or one.")],
    truth: Annotated[Path, typer.Argument(metavar="TRUE", help="Folder of true ones of the same names, or one.")],
    as_json: Json = False,
    overlays: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write pictures of what was found, missed, split, merged or extra.")
    ] = None,
    images: Annotated[Path | None, typer.Option(metavar="DIR", help="What the pictures are drawn over.")] = None,
) -> None:
    """Score predicted against true nuclei: DICE1, DICE2, AJI, AJI+, PQ, DQ, SQ, with 95 % intervals over images.

    Label maps as PNG, TIFF or .npy; outlines as ImageScope XML, QuPath GeoJSON or HoVer-Net JSON.
    """
    from nucleate.client.files.input_files import annotations_in, images_in, maps_paired
    from nucleate.client.files.upload import upload_images, upload_masks
    from nucleate.orchestrator.cli.services import ensure_services, new_job_id
    from nucleate.orchestrator.cli.terminal.printing import as_dict, show_json, show_table
    from nucleate.orchestrator.cli.terminal.progress import progress_display
    from nucleate.v1 import hovernet_pb2

    pairs = maps_paired(annotations_in(predicted, "PRED"), annotations_in(truth, "TRUE"))
    under = {image.id: image for image in images_in(images, "--images")} if images else {}
    with progress_display() as display, ensure_services(["hovernet"], display) as services:
        maps = upload_masks(services.blobs, [ours for ours, _ in pairs], sealed=False)
        truths = upload_masks(services.blobs, [true for _, true in pairs], sealed=True)
        request = hovernet_pb2.EvaluateRequest(
            job_id=new_job_id("evaluate"),
            pairs=[
                hovernet_pb2.EvaluationPair(id=ours.id, predicted=maps[ours.id], truth=truths[true.id]) for ours, true in pairs
            ],
            overlays=overlays is not None,
        )
        for pair in request.pairs:
            if overlays and pair.id in under:
                pair.image.CopyFrom(upload_images(services.blobs, [under[pair.id]])[0])
        client = services.client("hovernet")
        result = client.follow(client.stub.Evaluate, request, display.update)
        if overlays:
            _write_overlays(services, result, overlays)
    if as_json:
        show_json(as_dict(result))
        return
    rows = [(each.id, *score_cells(each.scores), str(each.nuclei_predicted), str(each.nuclei_true)) for each in result.images]
    show_table(
        ("image", "DICE1", "DICE2", "AJI", "AJI+", "PQ", "DQ", "SQ", "found", "true"),
        [*rows, *_mean_rows(result)],
    )
    for each in result.images:
        for note in each.notes:
            print(f"{each.id}: {note}")
    whole = result.set
    found = f"detection F {whole.detection_f:.4f}, count error {whole.count_error:.1%}"
    print(f"all images together: PQ+ {whole.pq_plus:.4f}, {found}")
    verdicts = {name: sum(getattr(each.verdicts, name) for each in result.images) for name in VERDICTS}
    print("nuclei: " + ", ".join(f"{count} {name}" for name, count in verdicts.items()))
    if result.classes:
        show_table(
            ("class", "PQ+", "F", "found", "true"),
            [_class_row(each) for each in result.classes],
        )


def _write_overlays(services: ServiceConnections, result: Any, folder: Path) -> None:
    from nucleate.client.files.output_files import output_folder, safe_name
    from nucleate.orchestrator.cli.work.stored_files import write_blob

    with output_folder(folder) as staging:
        for each in result.images:
            write_blob(services, each.overlay, staging / safe_name(each.id))


def _class_row(each: Any) -> tuple[str, ...]:
    figures = (f"{getattr(each, name):.4f}" if each.HasField(name) else "-" for name in ("pq_plus", "f"))
    return (each.name, *figures, str(each.nuclei_predicted), str(each.nuclei_true))


def _mean_rows(result: Any) -> Iterator[tuple[str, ...]]:
    yield ("mean", *score_cells(result.mean), "", "")
    if result.HasField("low"):
        yield ("95 % from", *score_cells(result.low), "", "")
        yield ("95 % to", *score_cells(result.high), "", "")


def score_cells(scores: object) -> tuple[str, ...]:
    """Format the seven scores of a SegmentationScores."""
    return tuple(f"{getattr(scores, name):.4f}" for name in SCORES)

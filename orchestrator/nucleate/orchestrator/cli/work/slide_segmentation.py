"""Whole slides in, nuclei as GeoJSON and an overview out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nucleate.errors import InvalidInput

if TYPE_CHECKING:
    from nucleate.orchestrator.cli.services import ServiceConnections
    from nucleate.v1 import hovernet_pb2


def segment_slides(slides: Sequence[Path], model: str, out: Path, mpp: float, views: int) -> None:
    """Write OUT/NAME.geojson and OUT/NAME.png of every slide.

    Raises:
        InvalidInput: without a trained model.
    """
    from nucleate.client.files.model_folders import load_model
    from nucleate.client.files.output_files import output_folder, safe_name
    from nucleate.orchestrator.cli.services import ensure_services, new_job_id
    from nucleate.orchestrator.cli.terminal.progress import progress_display
    from nucleate.orchestrator.cli.work.stored_files import write_blob
    from nucleate.v1 import common_pb2, hovernet_pb2

    if model == "classical":
        raise InvalidInput("a whole slide needs a trained model: give --model a model folder, or cut regions for 'classical'")
    with output_folder(out) as staging, progress_display() as display, ensure_services(["hovernet"], display) as services:
        trained, client = load_model(model, services.blobs, "hovernet"), services.client("hovernet")
        lines = []
        for slide in slides:
            image = common_pb2.Image(id=slide.stem, data=services.blobs.put_file(slide, "image/tiff"))
            request = hovernet_pb2.SegmentSlideRequest(
                job_id=new_job_id("slide"), slide=image, model=trained, microns_per_pixel=mpp, views=views
            )
            result = client.follow(client.stub.SegmentSlide, request, display.update)
            name = staging / safe_name(slide.stem)
            _write_outlines(services, result.tiles, name.with_name(name.name + ".geojson"))
            write_blob(services, result.overview, name)
            if result.warning:
                display.note(f"warning: {result.warning}")
            lines.append(f"{slide.stem}\t{result.nuclei} nuclei")
    print("\n".join(lines))


def _write_outlines(services: ServiceConnections, tiles: Iterable[hovernet_pb2.SlideTile], path: Path) -> None:
    """All tiles' nuclei in one collection, one tile in memory at a time."""
    with path.open("w", encoding="utf-8") as file:
        file.write('{"type":"FeatureCollection","features":[')
        comma = ""
        for tile in tiles:
            for feature in json.loads(services.blobs.get(tile.outlines))["features"]:
                file.write(comma + json.dumps(feature, separators=(",", ":")))
                comma = ",\n"
        file.write("]}\n")

"""bench realism: synthetic images beside real ones, one job of the synthesis service."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from nucleate.client.files.input_files import images_in
from nucleate.client.files.output_files import output_folder
from nucleate.client.files.upload import upload_images
from nucleate.errors import InvalidInput
from nucleate.orchestrator.cli.services import ensure_services, new_job_id
from nucleate.orchestrator.cli.terminal.printing import show_json, show_table
from nucleate.orchestrator.cli.terminal.progress import progress_display
from nucleate.v1 import synthesis_pb2 as pb

PROVENANCE = "statistics.json"


def sources_of(folder: Path) -> dict[str, str]:
    """Id of the real image that each synthetic one was drawn from, by `statistics.json` in the folder or beside it.

    Raises:
        InvalidInput: the file is there, but is not what `nucleate synthesize` writes.
    """
    for path in (folder / PROVENANCE, folder.parent / PROVENANCE):
        if path.is_file():
            try:
                images = json.loads(path.read_text(encoding="utf-8"))["images"]
                return {each["id"]: each["reference"]["name"].removeprefix("image '").removesuffix("'") for each in images}
            except (ValueError, KeyError, TypeError, AttributeError):
                raise InvalidInput(f"{path} is not what `nucleate synthesize` wrote: restore it, or remove it") from None
    return {}


def measure_realism(real: Path, synthetic: Path, out: Path | None, *, seed: int, crops: int, as_json: bool) -> None:
    """Measure, print, and write OUT/figures.json and the contact sheet OUT/sheet.png."""
    real_files, synthetic_files = images_in(real, "--real"), images_in(synthetic, "--synthetic")
    sources = sources_of(synthetic)
    with progress_display() as display, ensure_services(["synthesis"], display) as services:
        client = services.client("synthesis")
        request = pb.MeasureRealismRequest(
            job_id=new_job_id("realism"),
            real=upload_images(services.blobs, real_files),
            synthetic=[
                pb.SourcedImage(image=image, source=sources.get(image.id, image.id))
                for image in upload_images(services.blobs, synthetic_files)
            ],
            seed=seed,
            crops=crops,
        )
        result = client.follow(client.stub.MeasureRealism, request, display.update)
        figures = json.loads(services.blobs.get(result.figures))
        sheet = services.blobs.get(result.sheet)
    if out:
        with output_folder(out) as staging:
            (staging / "figures.json").write_text(json.dumps(figures, indent=2), encoding="utf-8")
            (staging / "sheet.png").write_bytes(sheet)
    if as_json:
        show_json(figures)
    else:
        _show(figures)


def _show(figures: dict[str, Any]) -> None:
    low, high = figures["auc_interval"]
    rows = [("two-sample AUC", f"{figures['auc']:.3f}", f"{low:.3f} to {high:.3f}")]
    rows += [
        (name.replace("_", " "), f"{figures[name]:.3f}", "")
        for name in ("colour_distance", "texture_distance", "size_emd_px", "density_emd_per_mpx", "gradient_energy_ratio")
    ]
    counts = figures["images"]
    show_table((f"{counts['real']} real, {counts['synthetic']} synthetic", "", "95 %"), rows)

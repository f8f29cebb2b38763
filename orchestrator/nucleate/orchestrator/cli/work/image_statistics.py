"""preview and describe: what synthesis would draw after an image, and what it knows of it."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median
from typing import Any

from nucleate.client.files.input_files import images_in, one_image
from nucleate.client.files.output_files import write_file
from nucleate.client.files.upload import upload_images
from nucleate.errors import InvalidInput
from nucleate.orchestrator.cli.services import ensure_services, new_job_id
from nucleate.orchestrator.cli.terminal.printing import print_notice, show_json, show_table
from nucleate.orchestrator.cli.terminal.progress import progress_display
from nucleate.v1 import synthesis_pb2 as pb


def preview_pair(image: Path, out: Path, *, seed: int, profile: str, index: int) -> None:
    """Write the picture of one pair.

    Raises:
        InvalidInput: OUT is no PNG, or IMAGE is not one image.
    """
    if out.suffix.lower() != ".png":
        raise InvalidInput(f"--out {out} is no .png: name the picture to write")
    file = one_image(image, "IMAGE")
    with progress_display() as display, ensure_services(["synthesis"], display) as services:
        uploaded = upload_images(services.blobs, [file])[0]
        request = pb.PreviewRequest(image=uploaded, seed=seed, profile=profile, index=index)
        client = services.client("synthesis")
        shown = client.call(client.stub.Preview, request)
    write_file(out, shown.picture)
    scores = json.loads(shown.provenance)["realism"]
    print_notice(
        f"{shown.nuclei_placed} of {shown.nuclei_requested} nuclei placed; tissue colour off by "
        f"{scores['colour_distance']:.1f} grey levels, fine detail {scores['sharpness_ratio']:.0%} of the image's"
    )
    print(out.absolute())


def describe_all(images: Path, out: Path | None, *, profile: str, as_json: bool) -> None:
    """Measure, print a line per image, and write all of it to OUT."""
    files = images_in(images)
    with progress_display() as display, ensure_services(["synthesis"], display) as services:
        client = services.client("synthesis")
        request = pb.DescribeRequest(
            job_id=new_job_id("describe"), images=upload_images(services.blobs, files), profile=profile
        )
        result = client.follow(client.stub.Describe, request, display.update)
        document = json.loads(services.blobs.get(result.statistics))
    if out:
        write_file(out, json.dumps(document, indent=1).encode())
    if as_json:
        show_json(document)
    else:
        _show(document["references"])
        if out:
            print(out.absolute())


def _show(entries: list[dict[str, Any]]) -> None:
    rows = [_row(entry) for entry in entries if "skipped" not in entry]
    columns = ("image", "nuclei", "per mm2", "median area um2", "axis ratio", "Clark-Evans", "touching", "edge um")
    if rows:
        show_table(columns, rows)
    for entry in entries:
        if "skipped" in entry:
            print_notice(f"left out: {entry['skipped']}")


def _row(entry: dict[str, Any]) -> tuple[str, ...]:
    mpp = 0.25  # the 40x that every profile is made for
    nuclei, area_mm2 = entry["nuclei"], entry["height"] * entry["width"] * mpp**2 / 1e6
    return (
        entry["id"],
        f"{entry['nuclei_expected']:.0f}",
        f"{entry['nuclei_expected'] / area_mm2:.0f}",
        f"{median(nuclei['area_px']) * mpp**2:.0f}",
        f"{median(nuclei['axis_ratio']):.2f}",
        f"{entry['clark_evans']:.2f}",
        f"{entry['touching_fraction']:.0%}",
        f"{entry['edge_sigma_px'] * mpp:.2f}",
    )

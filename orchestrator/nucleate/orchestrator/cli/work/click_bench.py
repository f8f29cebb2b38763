"""Measures annotation by clicks: files in, one job of the robot annotator, figures out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nucleate.client.files.input_files import Pair, SourceFile, images_in, masks_in, paired
from nucleate.client.files.model_folders import CARD, URI, check_model, load_model
from nucleate.client.files.output_files import output_folder
from nucleate.client.files.upload import upload_images, upload_labelled, upload_masks
from nucleate.errors import InvalidInput
from nucleate.orchestrator.cli.services import ServiceConnections, ensure_services, new_job_id
from nucleate.orchestrator.cli.terminal.printing import show_json
from nucleate.orchestrator.cli.terminal.progress import progress_display
from nucleate.orchestrator.cli.work.click_bench_results import as_figures, show_figures
from nucleate.orchestrator.report.clicks_chart import clicks_chart
from nucleate.v1 import annotator_pb2 as pb
from nucleate.v1 import common_pb2, hovernet_pb2
from nucleate.v1 import interactive_pb2 as interactive

_METHODS = {
    "default": interactive.REFINEMENT_METHOD_UNSPECIFIED,
    "none": interactive.REFINEMENT_METHOD_NONE,
    "f-brs-a": interactive.REFINEMENT_METHOD_FBRS_A,
    "f-brs-b": interactive.REFINEMENT_METHOD_FBRS_B,
    "f-brs-c": interactive.REFINEMENT_METHOD_FBRS_C,
    "brs": interactive.REFINEMENT_METHOD_BRS,
    "rgb-brs": interactive.REFINEMENT_METHOD_RGB_BRS,
    "gauss-newton": interactive.REFINEMENT_METHOD_GAUSS_NEWTON,
}


@dataclass(frozen=True)
class ClickBenchOptions:
    """The options of `nucleate bench clicks`."""

    images: Path
    masks: Path
    model: str
    nuclei: int = 500
    seed: int = 0
    clicks: int = 20
    jitter: float = 0.0
    method: str = "default"
    evaluations: int = 0
    spend_all: bool = False
    patches: int = 0
    patch_size: int = 400
    target_pq: float = 0.6
    proposals: str = "classical"

    def checked(self) -> list[Pair]:
        """Read and pair the files.

        Raises:
            InvalidInput: an unknown method, options that do not go together, a bad file, another kind of model.
        """
        if self.method not in _METHODS:
            raise InvalidInput(f"unknown method '{self.method}': choose one of {', '.join(_METHODS)}")
        if self.proposals != "classical" and not self.patches:
            raise InvalidInput("--proposals is for --patches: say how many patches")
        check_model(self.model, "interactive")
        files = images_in(self.images, "--images")
        if self.proposals != "classical":
            if self._from_model():
                check_model(self.proposals, "hovernet")
            else:
                self._proposed_maps(files)
        return paired(files, masks_in(self.masks, "--masks"), self.masks)

    def _proposed_maps(self, files: Sequence[SourceFile]) -> list[Pair]:
        folder = Path(self.proposals)
        return paired(files, masks_in(folder, "--proposals"), folder)

    def _from_model(self) -> bool:
        return self.proposals.startswith(URI) or (Path(self.proposals) / CARD).exists()

    def required_services(self) -> list[str]:
        """What has to run."""
        return ["interactive", "annotator", *(["hovernet"] if self.proposals != "classical" and self._from_model() else [])]

    def proposed(self, services: ServiceConnections, pairs: list[Pair]) -> list[common_pb2.Blob]:
        """Instance maps to start from, in the order of the images; none = the classical ones."""
        if self.proposals == "classical":
            return []
        files = [image for image, _ in pairs]
        if not self._from_model():
            found = self._proposed_maps(files)
            maps = upload_masks(services.blobs, [each for _, each in found], sealed=False)
            return [maps[each.id] for _, each in found]
        client = services.client("hovernet")
        request = hovernet_pb2.SegmentRequest(
            job_id=new_job_id("segment"),
            images=upload_images(services.blobs, files),
            model=load_model(self.proposals, services.blobs, "hovernet"),
        )
        result = client.follow(client.stub.Segment, request, services.display.update)
        by_id = {each.id: each.instances for each in result.images}
        return [by_id[each.id] for each in files]

    def request(self, services: ServiceConnections, pairs: list[Pair]) -> pb.BenchClicksRequest:
        """Store the files, the masks sealed, and say what to measure."""
        request = pb.BenchClicksRequest(
            job_id=new_job_id("bench"),
            model=load_model(self.model, services.blobs, "interactive"),
            images=upload_labelled(services.blobs, pairs),
            nuclei=self.nuclei,
            seed=self.seed,
            most_clicks=self.clicks,
            jitter=self.jitter,
            refinement=interactive.Refinement(
                method=_METHODS[self.method], most_evaluations=self.evaluations, spend_all=self.spend_all
            ),
        )
        if self.patches:
            proposals = self.proposed(services, pairs)
            request.patches.CopyFrom(
                pb.PatchBench(proposals=proposals, size=self.patch_size, count=self.patches, target_pq=self.target_pq)
            )
        return request


def measure(options: ClickBenchOptions, out: Path | None, *, as_json: bool) -> None:
    """Measure, print, and write OUT/rows.jsonl, OUT/figures.json and OUT/clicks.svg.

    Raises:
        InvalidInput: see `ClickBenchOptions.checked`.
    """
    pairs = options.checked()
    with progress_display() as display, ensure_services(options.required_services(), display) as services:
        request = options.request(services, pairs)
        client = services.client("annotator")
        result = client.follow(client.stub.BenchClicks, request, display.update)
        rows = services.blobs.get(result.rows)
    settings: dict[str, Any] = {key: str(value) if isinstance(value, Path) else value for key, value in asdict(options).items()}
    settings |= {"model_digest": request.model.card.sha256, "nuclei_drawn": result.n}
    found = as_figures(result, options.target_pq) | {"setting": settings}
    if out:
        with output_folder(out) as staging:
            (staging / "rows.jsonl").write_bytes(rows)
            (staging / "figures.json").write_text(json.dumps(found, indent=2), encoding="utf-8")
            (staging / "clicks.svg").write_text(clicks_chart(found), encoding="utf-8")
    if as_json:
        show_json(found)
    else:
        show_figures(found)

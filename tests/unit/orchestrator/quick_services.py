"""Services that answer at once, to try the orchestrator's own logic: order of steps, retries, waiting, cancelling, recovery.

Real gRPC servers with the real job runner and store; only the pixels' work is left out. All six services share one port.
"""

from __future__ import annotations

import threading
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc

from nucleate.client.files.image_files import encode_instance_map, encode_png
from nucleate.errors import InvalidImage
from nucleate.orchestrator.loop.runs import Orchestrator
from nucleate.orchestrator.settings import OrchestratorSettings
from nucleate.runtime.blobs import Blobs
from nucleate.runtime.jobs import Job
from nucleate.runtime.server import RunningServer, ServiceContext, ServiceSettings, start_server
from nucleate.runtime.store import open_store
from nucleate.v1 import (
    annotator_pb2,
    annotator_pb2_grpc,
    colornorm_pb2,
    colornorm_pb2_grpc,
    common_pb2,
    hovernet_pb2,
    hovernet_pb2_grpc,
    interactive_pb2,
    interactive_pb2_grpc,
    orchestrator_pb2,
    refiner_pb2,
    refiner_pb2_grpc,
    synthesis_pb2,
    synthesis_pb2_grpc,
)

SERVICES = ("synthesis", "refiner", "colornorm", "interactive", "hovernet", "annotator")
SIZE = 16


def label_png(labels: Sequence[Sequence[int]], depth: int = 16) -> bytes:
    """A grey PNG of the labels."""
    flat = array("H", [label for row in labels for label in row])
    if depth == 16:
        return encode_instance_map(len(labels[0]), len(labels), flat)
    return encode_png(len(labels[0]), len(labels), bytes(flat))


def square(size: int = SIZE, nuclei: int = 2) -> bytes:
    """An instance map with that many nuclei side by side."""
    row = [1 + x * nuclei // size for x in range(size)]
    return label_png([row if 2 <= y < size - 2 else [0] * size for y in range(size)])


class Quick(
    synthesis_pb2_grpc.SynthesisServiceServicer,
    hovernet_pb2_grpc.HoverNetServiceServicer,
    annotator_pb2_grpc.AnnotatorServiceServicer,
):
    """What the services were asked, in order of starting; `before` may block or fail a job by its step's name."""

    def __init__(self, context: ServiceContext, before: Callable[[str, Job], None], log: list[tuple[str, Any]]) -> None:
        self.blobs = context.blobs
        self.jobs = context.jobs
        self.before = before
        self.log = log

    def run(self, request: Any, response: type, work: Callable[[], Any]) -> Iterator[Any]:
        def begun(job: Job) -> Any:
            name = job.job_id.partition(".")[2]
            self.log.append((name, request))
            job.progress(1, 2, stage=name)
            self.before(name, job)
            return work()

        yield from self.jobs.stream(request, response, begun)

    def png(self, name: str = "") -> common_pb2.Blob:
        return self.blobs.put(label_png([[len(name) % 7 + 1] * SIZE] * SIZE, depth=8), "image/png")

    def map(self) -> common_pb2.Blob:
        return self.blobs.put(square(), "image/png")

    def model(self, kind: str, request: Any) -> common_pb2.Model:
        card = self.blobs.put(f'{{"kind":"{kind}","job":"{request.job_id}"}}'.encode(), "application/json")
        return common_pb2.Model(kind=kind, card=card, files={"model.safetensors": self.blobs.put(b"w", "application/x")})

    def Synthesize(self, request, context):
        def work():
            samples = [
                common_pb2.LabelledImage(id=f"{index:04d}", image=self.png(str(request.seed)), instances=self.map())
                for index in range(request.count)
            ]
            return synthesis_pb2.SynthesizeResult(samples=samples, nuclei_requested=2, nuclei_placed=2)

        return self.run(request, synthesis_pb2.SynthesizeResponse, work)

    def Train(self, request, context):
        return self.run(
            request,
            hovernet_pb2.HoverNetServiceTrainResponse,
            lambda: hovernet_pb2.HoverNetServiceTrainResult(model=self.model("hovernet", request)),
        )

    def Segment(self, request, context):
        def work():
            images = []
            for image in request.images:
                if image.id == "broken":
                    raise InvalidImage("image 'broken' cannot be decoded: export it again")
                each = hovernet_pb2.SegmentedImage(id=image.id, instances=self.map(), nuclei=2)
                if request.overlays:
                    each.overlay.CopyFrom(self.png())
                if request.ignore_masks:
                    each.ignore.CopyFrom(self.png("ignore"))
                images.append(each)
            return hovernet_pb2.SegmentResult(images=images)

        return self.run(request, hovernet_pb2.SegmentResponse, work)

    def Evaluate(self, request, context):
        better = 0.1 * request.job_id.count("cycle")
        scores = hovernet_pb2.SegmentationScores(
            dice1=0.7 + better, dice2=0.6, aji=0.4 + better, ajip=0.4, pq=0.4 + better, dq=0.6, sq=0.7
        )
        images = [
            hovernet_pb2.ImageScores(id=pair.id, scores=scores, nuclei_predicted=2, nuclei_true=3) for pair in request.pairs
        ]
        return self.run(request, hovernet_pb2.EvaluateResponse, lambda: hovernet_pb2.EvaluateResult(mean=scores, images=images))

    def ScorePatches(self, request, context):
        patches = [
            hovernet_pb2.PatchScore(
                image_id=image.id,
                window=common_pb2.Window(x=x, y=0, width=SIZE, height=SIZE),
                uncertainty=0.1 + x / 100,
                nuclei=5,
                features=[float(x), 1.0],
            )
            for image in request.images
            for x in range(0, 64, 8)
        ]
        return self.run(request, hovernet_pb2.ScorePatchesResponse, lambda: hovernet_pb2.ScorePatchesResult(patches=patches))

    def AnnotatePatch(self, request, context):
        def work():
            accepted = common_pb2.LabelledImage(id=request.image.id, image=self.png(), instances=self.map())
            return annotator_pb2.AnnotatePatchResult(accepted=accepted, clicks=3, nuclei=2, seconds=1.5, mean_iou=0.8)

        return self.run(request, annotator_pb2.AnnotatePatchResponse, work)


class QuickRefiner(refiner_pb2_grpc.RefinerServiceServicer):
    def __init__(self, quick: Quick) -> None:
        self.quick = quick

    def Train(self, request, context):
        return self.quick.run(
            request,
            refiner_pb2.RefinerServiceTrainResponse,
            lambda: refiner_pb2.RefinerServiceTrainResult(model=self.quick.model("refiner", request)),
        )

    def Refine(self, request, context):
        samples = [
            refiner_pb2.RefinedImage(sample=sample, gate=refiner_pb2.GateVerdict(accepted=index > 0))
            for index, sample in enumerate(request.synthetic)
        ]
        return self.quick.run(
            request,
            refiner_pb2.RefineResponse,
            lambda: refiner_pb2.RefineResult(samples=samples, preview=self.quick.png()),
        )


class QuickColorNorm(colornorm_pb2_grpc.ColorNormServiceServicer):
    def __init__(self, quick: Quick) -> None:
        self.quick = quick

    def Normalize(self, request, context):
        images = [
            colornorm_pb2.NormalizedImage(image=common_pb2.Image(id=image.id, data=self.quick.png("n")), status="normalized")
            for image in request.images
        ]
        return self.quick.run(request, colornorm_pb2.NormalizeResponse, lambda: colornorm_pb2.NormalizeResult(images=images))


class QuickInteractive(interactive_pb2_grpc.InteractiveServiceServicer):
    def __init__(self, quick: Quick) -> None:
        self.quick = quick

    def Train(self, request, context):
        return self.quick.run(
            request,
            interactive_pb2.InteractiveServiceTrainResponse,
            lambda: interactive_pb2.InteractiveServiceTrainResult(model=self.quick.model("interactive", request)),
        )

    def OpenSession(self, request, context):
        return interactive_pb2.OpenSessionResponse(session=interactive_pb2.Session(session_id=request.session_id))

    def CloseSession(self, request, context):
        cut = common_pb2.LabelledImage(id=request.session_id, image=self.quick.png(), instances=self.quick.map())
        return interactive_pb2.CloseSessionResponse(result=cut)


def serve_quick(
    store: str, before: Callable[[str, Job], None] = lambda _name, _job: None, log: list | None = None, port: int = 0
) -> tuple[RunningServer, list[tuple[str, Any]]]:
    """Start all six on one port."""
    asked: list[tuple[str, Any]] = [] if log is None else log

    def register(server: grpc.Server, context: ServiceContext) -> None:
        quick = Quick(context, before, asked)
        synthesis_pb2_grpc.add_SynthesisServiceServicer_to_server(quick, server)
        hovernet_pb2_grpc.add_HoverNetServiceServicer_to_server(quick, server)
        annotator_pb2_grpc.add_AnnotatorServiceServicer_to_server(quick, server)
        refiner_pb2_grpc.add_RefinerServiceServicer_to_server(QuickRefiner(quick), server)
        colornorm_pb2_grpc.add_ColorNormServiceServicer_to_server(QuickColorNorm(quick), server)
        interactive_pb2_grpc.add_InteractiveServiceServicer_to_server(QuickInteractive(quick), server)

    return start_server("quick", register, ServiceSettings(store=store, port=port, drain_seconds=2)), asked


def settings_for(home: Path, endpoint: str, **more: Any) -> OrchestratorSettings:
    """Settings of an orchestrator whose services are all at one endpoint."""
    endpoints = {f"endpoint_{service}": endpoint for service in SERVICES}
    return OrchestratorSettings(home=home, store=(home / "store").as_uri(), **{"unavailable_seconds": 2.0, **endpoints, **more})


@contextmanager
def orchestrator(settings: OrchestratorSettings) -> Iterator[Orchestrator]:
    """The orchestrator without its server."""
    with Orchestrator(Blobs(open_store(settings.store, settings)), settings) as running:
        yield running


def a_plan(
    blobs: Blobs, *, images: int = 2, cycles: int = 2, oracle: bool = True, evaluation: bool = True
) -> orchestrator_pb2.RunPlan:
    """A small plan whose blobs are stored."""
    plan = orchestrator_pb2.RunPlan(cycles=cycles, profile="tiny", seed=7, images_name="pool")
    for index in range(images):
        data = blobs.put(label_png([[index] * 8] * 8, depth=8), "image/png")
        plan.images.add(id=f"image-{index}", data=data)
        sealed = blobs.put(square(8), "image/png", sealed=True)
        if oracle:
            plan.oracle.add(id=f"image-{index}", image=data, instances=sealed)
        if evaluation:
            plan.evaluation.add(id=f"eval-{index}", image=data, instances=sealed)
    return plan


def settled(running: Orchestrator, run_id: str, *states: int) -> orchestrator_pb2.Run:
    """Wait until the run is in one of the states (default: not running)."""
    return watched(
        running, run_id, lambda run: run.state in states or (not states and run.state != orchestrator_pb2.RUN_STATE_RUNNING)
    )


def watched(
    running: Orchestrator, run_id: str, wanted: Callable[[orchestrator_pb2.Run], bool], seconds: float = 240.0
) -> orchestrator_pb2.Run:
    """Wait until the run is as wanted."""
    event = threading.Event()
    run = running.show(run_id)
    for _ in range(int(seconds * 20)):
        run = running.show(run_id)
        if wanted(run):
            return run
        event.wait(0.05)
    raise AssertionError(f"run still {run}")

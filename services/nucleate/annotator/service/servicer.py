"""AnnotatorService over gRPC: annotation of a window and the evaluation by clicks, as jobs."""

# ruff: noqa: ARG002 - gRPC hands every method a context

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import grpc

from nucleate import errors
from nucleate.annotator.bench.job import ClickBench
from nucleate.annotator.robot.oracle import InstanceMap, mean_iou
from nucleate.annotator.robot.routine import Robot
from nucleate.annotator.robot.session_tool import SessionTool, open_session
from nucleate.annotator.service.limits import check_annotation, check_bench
from nucleate.annotator.service.settings import AnnotatorSettings
from nucleate.pathology.images.codec import decode_image, decode_instances
from nucleate.runtime.channels import connect
from nucleate.runtime.jobs import Job
from nucleate.runtime.server import ServiceContext
from nucleate.v1 import annotator_pb2 as pb
from nucleate.v1 import annotator_pb2_grpc, common_pb2, interactive_pb2, interactive_pb2_grpc


class AnnotatorServicer(annotator_pb2_grpc.AnnotatorServiceServicer):
    """Runs the robot as a job."""

    def __init__(self, context: ServiceContext, settings: AnnotatorSettings) -> None:
        self._blobs, self._jobs = context.blobs, context.jobs
        self._interactive = interactive_pb2_grpc.InteractiveServiceStub(connect(settings.endpoint_interactive))

    def AnnotatePatch(
        self, request: pb.AnnotatePatchRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.AnnotatePatchResponse]:
        """Annotate one window; a job that is started again goes on in the same session."""
        check_annotation(request)
        return self._jobs.stream(request, pb.AnnotatePatchResponse, partial(self._annotate, request))

    def BenchClicks(self, request: pb.BenchClicksRequest, context: grpc.ServicerContext) -> Iterator[pb.BenchClicksResponse]:
        """Measure a model by clicks; a job that is started again goes on behind the last image or patch it finished."""
        check_bench(request)
        return self._jobs.stream(request, pb.BenchClicksResponse, partial(self._bench, request))

    def _bench(self, request: pb.BenchClicksRequest, job: Job) -> pb.BenchClicksResult:
        return ClickBench(request, job, self._blobs, self._interactive).run()

    def _annotate(self, request: pb.AnnotatePatchRequest, job: Job) -> pb.AnnotatePatchResult:
        tool = self._open(request)
        w = tool.window
        oracle_HW = self._oracle(request)[w.y : w.y + w.height, w.x : w.x + w.width]
        if not tool.closed:
            report = partial(job.progress, stage="annotating")
            Robot(tool, oracle_HW, request.target_iou, request.max_clicks, report).annotate()
        closed = tool.close()
        found_HW = decode_instances(self._blobs.get(closed.result.instances), f"result of job {request.job_id}")
        return pb.AnnotatePatchResult(
            accepted=closed.result,
            clicks=closed.clicks,
            nuclei=closed.nuclei,
            seconds=closed.seconds,
            mean_iou=mean_iou(oracle_HW, found_HW),
        )

    def _open(self, request: pb.AnnotatePatchRequest) -> SessionTool:
        opening = interactive_pb2.OpenSessionRequest(
            session_id=f"robot-{request.job_id}", image=request.image, model=request.model
        )
        if request.window != common_pb2.Window():
            opening.window.CopyFrom(request.window)
        if request.proposals != common_pb2.Blob():
            opening.proposals.CopyFrom(request.proposals)
        return open_session(self._interactive, opening)

    def _oracle(self, request: pb.AnnotatePatchRequest) -> InstanceMap:
        """The sealed map, of the image's size."""
        name = f"image '{request.image.id}'"
        height, width = decode_image(self._blobs.get(request.image.data), name).shape[:2]
        oracle_HW = decode_instances(self._blobs.get(request.oracle), f"oracle of {name}")
        if oracle_HW.shape != (height, width):
            found = f"{oracle_HW.shape[1]} x {oracle_HW.shape[0]}"
            raise errors.SizeMismatch(f"{name} has {width} x {height} pixels, but its oracle has {found}")
        return oracle_HW


def register(server: grpc.Server, context: ServiceContext) -> None:
    """Add the service to a server."""
    settings = context.settings
    assert isinstance(settings, AnnotatorSettings)
    servicer = AnnotatorServicer(context, settings)
    annotator_pb2_grpc.add_AnnotatorServiceServicer_to_server(servicer, server)

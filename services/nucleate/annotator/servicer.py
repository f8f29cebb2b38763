"""AnnotatorService over gRPC, and the annotation tool that the robot works with: a client of InteractiveService."""

# ruff: noqa: ARG002 - gRPC hands every method a context

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import grpc
import numpy as np

from nucleate import errors
from nucleate.annotator.oracle import Map, Mask, mean_iou
from nucleate.annotator.robot import Robot, View
from nucleate.annotator.settings import AnnotatorSettings
from nucleate.pathology.codec import decode_image, decode_instances
from nucleate.runtime.channels import call, connect
from nucleate.runtime.jobs import Job
from nucleate.runtime.server import ServiceContext
from nucleate.v1 import annotator_pb2 as pb
from nucleate.v1 import annotator_pb2_grpc, common_pb2, interactive_pb2, interactive_pb2_grpc

OPEN_SECONDS = 120.0  # the first session on a model loads it


class SessionTool:
    """One session of the interactive service, in window pixels."""

    def __init__(self, stub: interactive_pb2_grpc.InteractiveServiceStub, session: interactive_pb2.Session) -> None:
        self._stub, self._id, self._sequence = stub, session.session_id, session.sequence
        self._window = session.window

    def view(self) -> View:
        """Read the session."""
        session = call(self._stub.GetSession, interactive_pb2.GetSessionRequest(session_id=self._id)).session
        self._sequence = session.sequence
        objects_HW = np.zeros((self._window.height, self._window.width), np.int32)
        work_HW = np.zeros(objects_HW.shape, bool)
        for found in session.objects:
            mask_HW = self._mask(found.mask)
            if found.object_id == session.object_id:
                work_HW = mask_HW
            else:
                objects_HW[mask_HW] = found.object_id
        clicks = [(c.x - self._window.x, c.y - self._window.y, c.positive) for c in session.clicks]
        touched = {found.object_id for found in session.objects if found.clicks}
        return View(objects_HW, touched, session.object_id, work_HW, clicks)

    def click(self, x: int, y: int, *, positive: bool) -> Mask:
        """Click."""
        placed = interactive_pb2.PlacedClick(x=x + self._window.x, y=y + self._window.y, positive=positive)
        request = interactive_pb2.ClickRequest(session_id=self._id, sequence=self._sequence, click=placed)
        answer = call(self._stub.Click, request)
        self._sequence = answer.sequence
        return self._mask(answer.mask)

    def select(self, object_id: int) -> Mask:
        """Take an object back into work."""
        request = interactive_pb2.SelectObjectRequest(session_id=self._id, sequence=self._sequence, object_id=object_id)
        answer = call(self._stub.SelectObject, request)
        self._sequence = answer.sequence
        return self._mask(answer.mask)

    def delete(self, object_id: int) -> None:
        """Drop an object."""
        request = interactive_pb2.DeleteObjectRequest(session_id=self._id, sequence=self._sequence, object_id=object_id)
        self._sequence = call(self._stub.DeleteObject, request).sequence

    def accept(self) -> int:
        """Finish the object in work."""
        answer = call(self._stub.Accept, interactive_pb2.AcceptRequest(session_id=self._id, sequence=self._sequence))
        self._sequence = answer.sequence
        return int(answer.object_id)

    def _mask(self, mask: interactive_pb2.Mask) -> Mask:
        """Run lengths to a mask of the window."""
        mask_HW = np.zeros((self._window.height, self._window.width), bool)
        if mask.runs:
            box, odd = mask.box, np.arange(len(mask.runs)) % 2 == 1
            y, x = box.y - self._window.y, box.x - self._window.x
            mask_HW[y : y + box.height, x : x + box.width] = np.repeat(odd, mask.runs).reshape(box.height, box.width)
        return mask_HW


class AnnotatorServicer(annotator_pb2_grpc.AnnotatorServiceServicer):
    """Runs the robot as a job."""

    def __init__(self, context: ServiceContext, settings: AnnotatorSettings) -> None:
        self._blobs, self._jobs = context.blobs, context.jobs
        self._interactive = interactive_pb2_grpc.InteractiveServiceStub(connect(settings.endpoint_interactive))

    def AnnotatePatch(
        self, request: pb.AnnotatePatchRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.AnnotatePatchResponse]:
        """Annotate one window; a job that is started again goes on in the same session."""
        if not 0 < request.target_iou <= 1:
            raise errors.InvalidInput(f"target_iou is {request.target_iou}: give more than 0 and at most 1")
        if not 1 <= request.max_clicks <= 64:
            raise errors.InvalidInput(f"max_clicks is {request.max_clicks}: give 1 to 64")
        return self._jobs.stream(request, pb.AnnotatePatchResponse, partial(self._annotate, request))

    def _annotate(self, request: pb.AnnotatePatchRequest, job: Job) -> pb.AnnotatePatchResult:
        session = self._open(request)
        w = session.window
        oracle_HW = self._oracle(request)[w.y : w.y + w.height, w.x : w.x + w.width]
        if not session.closed:
            tool = SessionTool(self._interactive, session)
            report = partial(job.progress, stage="annotating")
            Robot(tool, oracle_HW, request.target_iou, request.max_clicks, report).annotate()
        closing = interactive_pb2.CloseSessionRequest(session_id=session.session_id)
        closed = call(self._interactive.CloseSession, closing)
        found_HW = decode_instances(self._blobs.get(closed.result.instances), f"result of session {session.session_id}")
        return pb.AnnotatePatchResult(
            accepted=closed.result,
            clicks=closed.clicks,
            nuclei=closed.nuclei,
            seconds=closed.seconds,
            mean_iou=mean_iou(oracle_HW, found_HW),
        )

    def _open(self, request: pb.AnnotatePatchRequest) -> interactive_pb2.Session:
        opening = interactive_pb2.OpenSessionRequest(
            session_id=f"robot-{request.job_id}", image=request.image, model=request.model
        )
        if request.window != common_pb2.Window():
            opening.window.CopyFrom(request.window)
        if request.proposals != common_pb2.Blob():
            opening.proposals.CopyFrom(request.proposals)
        session: interactive_pb2.Session = call(self._interactive.OpenSession, opening, OPEN_SECONDS).session
        return session

    def _oracle(self, request: pb.AnnotatePatchRequest) -> Map:
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

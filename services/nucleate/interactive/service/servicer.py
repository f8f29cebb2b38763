"""InteractiveService over gRPC: decode, one call, encode. Nothing here can open sealed data."""

# ruff: noqa: ARG002 - gRPC hands every method a context

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial

import grpc
from google.protobuf import json_format

from nucleate import errors
from nucleate.interactive.clicks import Click
from nucleate.interactive.refinement import RefinementOptions
from nucleate.interactive.service import messages
from nucleate.interactive.service.click_stream import ClickStreams, read_stream
from nucleate.interactive.service.metrics import ClickMetrics
from nucleate.interactive.service.model_cache import ModelCache, set_torch_threads
from nucleate.interactive.service.session_opening import StoredSessionOpener
from nucleate.interactive.service.settings import InteractiveSettings
from nucleate.interactive.service.training_job import train_model
from nucleate.interactive.service.uploads import ImageUploads
from nucleate.interactive.sessions.backpressure import ConcurrencyLimiter
from nucleate.interactive.sessions.calls import Sessions
from nucleate.interactive.sessions.session import Limits
from nucleate.interactive.sessions.session_cache import CacheLimits, SessionCache
from nucleate.interactive.training.profiles import profile_named
from nucleate.learning.device import choose_device
from nucleate.runtime.server import ServiceContext
from nucleate.v1 import common_pb2, interactive_pb2_grpc
from nucleate.v1 import interactive_pb2 as pb

SECONDS_PER_DAY = 86400.0


class InteractiveServicer(interactive_pb2_grpc.InteractiveServiceServicer):
    """Training and sessions."""

    def __init__(self, context: ServiceContext, settings: InteractiveSettings) -> None:
        blobs = context.blobs.fenced()
        device = choose_device(settings.device)
        threads = settings.threads or len(os.sched_getaffinity(0))
        self._jobs = context.jobs
        self._train = partial(train_model, blobs=blobs, device=device, threads=threads)
        set_threads = partial(set_torch_threads, settings.click_threads)
        limiter = ConcurrencyLimiter(settings.slots, settings.most_waiting, set_threads)
        limits = Limits(seconds=SECONDS_PER_DAY * settings.session_days)
        models = ModelCache(device, settings.click_threads)
        self._opener = StoredSessionOpener(blobs, models, default_refinement(settings), limits, default_model=settings.model)
        cache = SessionCache(CacheLimits(settings.live_sessions, settings.live_bytes, 60 * settings.live_minutes))
        cache.start_eviction()
        self._sessions = Sessions(context.store, self._opener, limiter, cache, limits)
        self._uploads = ImageUploads(blobs, limiter, settings.image_bytes, settings.upload_bytes)
        self._streams = ClickStreams(
            {
                "open": self.OpenSession,
                "click": self.Click,
                "click_many": self.ClickMany,
                "propose": self.Propose,
                "undo": self.Undo,
                "redo": self.Redo,
                "select": self.SelectObject,
                "delete": self.DeleteObject,
                "accept": self.Accept,
            },
            settings.streams,
        )
        self._metrics = ClickMetrics(context.registry)
        self._metrics.add_gauge("waiting", "Calls in line for a prediction", lambda: limiter.waiting)
        self._metrics.add_gauge("streams", "Streams of clicks that are open", lambda: self._streams.streams)
        self._metrics.add_gauge("live_sessions", "Sessions in memory", lambda: len(cache))
        self._metrics.add_gauge("live_bytes", "Bytes of their images and maps", lambda: cache.nbytes)

    def Train(
        self, request: pb.InteractiveServiceTrainRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.InteractiveServiceTrainResponse]:
        """Train a model; see `training.loop.train`."""
        profile_named(request.profile)
        work = partial(self._train, request)
        return self._jobs.stream(request, pb.InteractiveServiceTrainResponse, lambda job: work(job=job))

    def PutImage(self, request_iterator: Iterator[pb.PutImageRequest], context: grpc.ServicerContext) -> pb.PutImageResponse:
        """Store an image that comes in chunks."""
        return self._uploads.put(read_stream(request_iterator), lambda: not context.is_active())

    def OpenSession(self, request: pb.OpenSessionRequest, context: grpc.ServicerContext) -> pb.OpenSessionResponse:
        """Open a session, or go on with it."""
        bare = pb.OpenSessionRequest()
        bare.CopyFrom(request)
        bare.ClearField("session_id")
        session = self._sessions.open(request.session_id, messages.message_text(bare), lambda: not context.is_active())
        return pb.OpenSessionResponse(session=messages.session_message(session))

    def GetSession(self, request: pb.GetSessionRequest, context: grpc.ServicerContext) -> pb.GetSessionResponse:
        """Read a session."""
        return pb.GetSessionResponse(session=messages.session_message(self._sessions.get(request.session_id)))

    def Click(self, request: pb.ClickRequest, context: grpc.ServicerContext) -> pb.ClickResponse:
        """Add a click."""
        clicked = self._sessions.click(
            request.session_id,
            request.sequence,
            Click(request.click.x, request.click.y, request.click.positive),
            lambda: not context.is_active(),
            probability=request.probability,
        )
        if clicked.storing:
            self._metrics.observe_click(clicked.outcome, clicked.storing)
        return messages.click_message(clicked)

    def ClickMany(self, request: pb.ClickManyRequest, context: grpc.ServicerContext) -> pb.ClickManyResponse:
        """Make an object of each click."""
        clicks = messages.clicks_from_messages(request.clicks)
        event = self._sessions.click_many(request.session_id, request.sequence, clicks, lambda: not context.is_active())
        return pb.ClickManyResponse(
            objects=[messages.clicked_object(each) for each in event.outcome["objects"]],
            milliseconds=event.outcome["milliseconds"],
            sequence=request.sequence + 1,
        )

    def Propose(self, request: pb.ProposeRequest, context: grpc.ServicerContext) -> pb.ProposeResponse:
        """Add objects to start from."""
        named = request.WhichOneof("source")
        if named is None:
            raise errors.InvalidInput("the request names no proposals: send an instance map, or classical")
        arguments = {"source": named, "instances": messages.message_text(request.instances)}
        event = self._sessions.propose(
            request.session_id, request.sequence, arguments, partial(self._opener.read_proposals, request)
        )
        objects = [messages.object_message(each) for each in event.outcome["objects"]]
        return pb.ProposeResponse(objects=objects, sequence=request.sequence + 1)

    def Undo(self, request: pb.UndoRequest, context: grpc.ServicerContext) -> pb.UndoResponse:
        """Take back the last change."""
        change = messages.change_message(self._sessions.undo(request.session_id, request.sequence))
        mask = change.mask if change.HasField("mask") else None
        return pb.UndoResponse(mask=mask, sequence=request.sequence + 1, change=change)

    def Redo(self, request: pb.RedoRequest, context: grpc.ServicerContext) -> pb.RedoResponse:
        """Bring back the last change that was taken back."""
        change = messages.change_message(self._sessions.redo(request.session_id, request.sequence))
        return pb.RedoResponse(change=change, sequence=request.sequence + 1)

    def SelectObject(self, request: pb.SelectObjectRequest, context: grpc.ServicerContext) -> pb.SelectObjectResponse:
        """Take an object as the active one."""
        event = self._sessions.select(request.session_id, request.sequence, request.object_id)
        return pb.SelectObjectResponse(mask=messages.mask_or_none(event.outcome["mask"]), sequence=request.sequence + 1)

    def DeleteObject(self, request: pb.DeleteObjectRequest, context: grpc.ServicerContext) -> pb.DeleteObjectResponse:
        """Drop an object."""
        self._sessions.delete(request.session_id, request.sequence, request.object_id)
        return pb.DeleteObjectResponse(sequence=request.sequence + 1)

    def Accept(self, request: pb.AcceptRequest, context: grpc.ServicerContext) -> pb.AcceptResponse:
        """Finish the active object."""
        event = self._sessions.accept(request.session_id, request.sequence)
        return pb.AcceptResponse(object_id=event.outcome["object_id"], sequence=request.sequence + 1)

    def Interact(
        self, request_iterator: Iterator[pb.InteractRequest], context: grpc.ServicerContext
    ) -> Iterator[pb.InteractResponse]:
        """The same calls on one stream."""
        return self._streams.answer(request_iterator, context)

    def CloseSession(self, request: pb.CloseSessionRequest, context: grpc.ServicerContext) -> pb.CloseSessionResponse:
        """End the session."""
        found = self._sessions.close(request.session_id).outcome
        result = json_format.Parse(found["result"], common_pb2.LabelledImage())
        return pb.CloseSessionResponse(result=result, clicks=found["clicks"], nuclei=found["nuclei"], seconds=found["seconds"])


def default_refinement(settings: InteractiveSettings) -> RefinementOptions:
    """How sessions are refined that do not say it."""
    if settings.refinement is None:
        return RefinementOptions(most_evaluations=settings.most_evaluations)
    return RefinementOptions(method=settings.refinement, most_evaluations=settings.most_evaluations)


def register(server: grpc.Server, context: ServiceContext) -> None:
    """Add the service to a server."""
    settings = context.settings
    assert isinstance(settings, InteractiveSettings)
    interactive_pb2_grpc.add_InteractiveServiceServicer_to_server(InteractiveServicer(context, settings), server)

"""InteractiveService over gRPC: decode, one call, encode. Nothing here can open sealed data."""

# ruff: noqa: ARG002 - gRPC hands every method a context

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import grpc
import numpy as np
import torch
from google.protobuf import json_format
from numpy.typing import NDArray

from nucleate.dataset.manifest import BlobRef, Dataset
from nucleate.interactive.clicks import Click
from nucleate.interactive.events import Event
from nucleate.interactive.masks import ObjectMask
from nucleate.interactive.model import KIND, ModelCard, pack
from nucleate.interactive.models import LoadedModel, ModelCache, read_network
from nucleate.interactive.profiles import profile_named
from nucleate.interactive.refinement import RefinementOptions
from nucleate.interactive.session import Material, Session, material_for
from nucleate.interactive.sessions import Sessions
from nucleate.interactive.settings import InteractiveSettings
from nucleate.interactive.state import Box, mask_to_json
from nucleate.interactive.training import train
from nucleate.learning.device import choose_device
from nucleate.pathology.codec import decode_image, decode_instances, encode_instances, encode_png
from nucleate.runtime.blobs import Blobs
from nucleate.runtime.jobs import Job
from nucleate.runtime.server import ServiceContext
from nucleate.v1 import common_pb2, interactive_pb2_grpc
from nucleate.v1 import interactive_pb2 as pb

_MEDIA_TYPES = {"model.safetensors": "application/vnd.safetensors", "backbone.onnx": "application/octet-stream"}


class InteractiveServicer(interactive_pb2_grpc.InteractiveServiceServicer):
    """Training and sessions."""

    def __init__(self, context: ServiceContext, settings: InteractiveSettings) -> None:
        self._blobs = context.blobs.fenced()
        self._jobs = context.jobs
        self._device = choose_device(settings.device)
        self._models = ModelCache(self._device, settings.threads)
        self._options = RefinementOptions(most_evaluations=settings.most_evaluations)
        self._sessions = Sessions(context.store, self._open_material, self._publish, settings.live_sessions)

    def Train(
        self, request: pb.InteractiveServiceTrainRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.InteractiveServiceTrainResponse]:
        """Train a model; see `training.train`."""
        profile_named(request.profile)
        return self._jobs.stream(request, pb.InteractiveServiceTrainResponse, partial(self._train, request))

    def OpenSession(self, request: pb.OpenSessionRequest, context: grpc.ServicerContext) -> pb.OpenSessionResponse:
        """Open a session, or go on with it."""
        bare = pb.OpenSessionRequest()
        bare.CopyFrom(request)
        bare.ClearField("session_id")
        session = self._sessions.open(request.session_id, json_format.MessageToJson(bare, indent=None, sort_keys=True))
        return pb.OpenSessionResponse(session=_session(session))

    def GetSession(self, request: pb.GetSessionRequest, context: grpc.ServicerContext) -> pb.GetSessionResponse:
        """Read a session."""
        return pb.GetSessionResponse(session=_session(self._sessions.get(request.session_id)))

    def Click(self, request: pb.ClickRequest, context: grpc.ServicerContext) -> pb.ClickResponse:
        """Add a click."""
        click = Click(request.click.x, request.click.y, request.click.positive)
        found = self._sessions.click(request.session_id, request.sequence, click).outcome
        return pb.ClickResponse(
            object_id=found["object_id"],
            mask=_mask(found["mask"]),
            confidence=found["confidence"],
            clicks_obeyed=found["clicks_obeyed"],
            optimizer_evaluations=found["evaluations"],
            milliseconds=found["milliseconds"],
            sequence=request.sequence + 1,
        )

    def Undo(self, request: pb.UndoRequest, context: grpc.ServicerContext) -> pb.UndoResponse:
        """Take a click back."""
        event = self._sessions.undo(request.session_id, request.sequence)
        return pb.UndoResponse(mask=_mask_of(event), sequence=request.sequence + 1)

    def SelectObject(self, request: pb.SelectObjectRequest, context: grpc.ServicerContext) -> pb.SelectObjectResponse:
        """Take an object back into work."""
        event = self._sessions.select(request.session_id, request.sequence, request.object_id)
        return pb.SelectObjectResponse(mask=_mask_of(event), sequence=request.sequence + 1)

    def DeleteObject(self, request: pb.DeleteObjectRequest, context: grpc.ServicerContext) -> pb.DeleteObjectResponse:
        """Drop an object."""
        self._sessions.delete(request.session_id, request.sequence, request.object_id)
        return pb.DeleteObjectResponse(sequence=request.sequence + 1)

    def Accept(self, request: pb.AcceptRequest, context: grpc.ServicerContext) -> pb.AcceptResponse:
        """Finish the object in work."""
        event = self._sessions.accept(request.session_id, request.sequence)
        return pb.AcceptResponse(object_id=event.outcome["object_id"], sequence=request.sequence + 1)

    def CloseSession(self, request: pb.CloseSessionRequest, context: grpc.ServicerContext) -> pb.CloseSessionResponse:
        """End the session."""
        found = self._sessions.close(request.session_id).outcome
        result = json_format.Parse(found["result"], common_pb2.LabelledImage())
        return pb.CloseSessionResponse(result=result, clicks=found["clicks"], nuclei=found["nuclei"], seconds=found["seconds"])

    def _train(self, request: pb.InteractiveServiceTrainRequest, job: Job) -> pb.InteractiveServiceTrainResult:
        profile, parent, initial = profile_named(request.profile), "", None
        if request.initial != common_pb2.Model():
            files = _readers(self._blobs, request.initial)
            parent, card = request.initial.card.sha256, self._blobs.get(request.initial.card)
            _, initial = read_network(request.initial.kind, files, card)
        dataset = Dataset.from_json(self._blobs.get(request.dataset.manifest))
        trained = train(dataset, partial(_read, self._blobs), profile, request.seed, job, initial=initial, device=self._device)
        card_of = ModelCard(
            profile.architecture, profile.crop, request.profile or "cpu", dataset.digest, parent, trained.metrics
        )
        model = common_pb2.Model(kind=KIND, card=self._blobs.put(card_of.to_json(), "application/json"))
        for name, data in pack(trained.network).items():
            model.files[name].CopyFrom(self._blobs.put(data, _MEDIA_TYPES[name]))
        return pb.InteractiveServiceTrainResult(model=model, metrics=trained.metrics)

    def _open_material(self, text: str) -> Material:
        """Fetch and check everything that an open request names."""
        request = json_format.Parse(text, pb.OpenSessionRequest())
        name = f"image '{request.image.id}'"
        image_HW3 = decode_image(self._blobs.get(request.image.data), name)
        proposals_HW = None
        if request.proposals != common_pb2.Blob():
            proposals_HW = decode_instances(self._blobs.get(request.proposals), f"proposals for {name}")
        w = request.window
        window = Box(w.x, w.y, w.width, w.height) if w != common_pb2.Window() else None
        predictor = self._model(request.model).predictor(self._options, self._device)
        return material_for(name, image_HW3, window, proposals_HW, predictor)

    def _model(self, model: common_pb2.Model) -> LoadedModel:
        key = "/".join([model.kind, model.card.sha256, *(f"{n}={model.files[n].sha256}" for n in sorted(model.files))])
        return self._models.get(key, model.kind, partial(self._blobs.get, model.card), _readers(self._blobs, model))

    def _publish(self, pixels_HW3: NDArray[np.uint8], instances_HW: NDArray[np.int32], text: str) -> str:
        """Store a session's result; its id says which part of which image it is."""
        request = json_format.Parse(text, pb.OpenSessionRequest())
        height, width = instances_HW.shape
        data, media_type = encode_instances(instances_HW)
        labelled = common_pb2.LabelledImage(
            id=f"{request.image.id}@{request.window.x},{request.window.y},{width}x{height}",
            image=self._blobs.put(encode_png(pixels_HW3), "image/png", dtype="uint8", shape=(height, width, 3)),
            instances=self._blobs.put(data, media_type, dtype="uint16", shape=(height, width)),
        )
        return json_format.MessageToJson(labelled, indent=None, sort_keys=True)


def register(server: grpc.Server, context: ServiceContext) -> None:
    """Add the service to a server."""
    settings = context.settings
    assert isinstance(settings, InteractiveSettings)
    if settings.threads:
        torch.set_num_threads(settings.threads)
    servicer = InteractiveServicer(context, settings)
    interactive_pb2_grpc.add_InteractiveServiceServicer_to_server(servicer, server)


def _read(blobs: Blobs, ref: BlobRef) -> bytes:
    return blobs.get(common_pb2.Blob(uri=ref.uri, sha256=ref.sha256, size=ref.size, media_type=ref.media_type))


def _readers(blobs: Blobs, model: common_pb2.Model) -> dict[str, Any]:
    return {name: partial(blobs.get, blob) for name, blob in model.files.items()}


def _window(x: int, y: int, width: int, height: int) -> common_pb2.Window:
    return common_pb2.Window(x=x, y=y, width=width, height=height)


def _mask(found: Any) -> pb.Mask:
    return pb.Mask(box=_window(found["x"], found["y"], found["width"], found["height"]), runs=found["runs"])


def _mask_of(event: Event) -> pb.Mask | None:
    return _mask(event.outcome["mask"]) if event.outcome["mask"]["runs"] else None


def _session(session: Session) -> pb.Session:
    """The session as it stands; the object in work is among the objects, with its mask so far."""
    with session.lock:
        state, w = session.state, session.state.window
        shown: dict[int, tuple[ObjectMask, int]] = {i: (found.mask, found.clicks) for i, found in state.objects.items()}
        steps = []
        if state.work:
            steps = state.work.steps
            shown[state.work.object_id] = (state.work.mask, state.work.original_clicks + len(steps))
        return pb.Session(
            session_id=session.log.session_id,
            window=_window(w.x, w.y, w.width, w.height),
            objects=[
                pb.SessionObject(object_id=i, mask=_mask(mask_to_json(mask)), clicks=clicks)
                for i, (mask, clicks) in sorted(shown.items())
            ],
            object_id=state.work.object_id if state.work else 0,
            clicks=[pb.PlacedClick(x=s.click.x, y=s.click.y, positive=s.click.positive) for s in steps],
            sequence=state.sequence,
            closed=state.closing is not None,
        )

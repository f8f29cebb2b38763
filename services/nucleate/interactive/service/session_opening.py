"""What a session is opened on: image, window, model, refinement and proposals, fetched and checked."""

from __future__ import annotations

import hashlib
import re
from functools import partial
from weakref import WeakValueDictionary

import numpy as np
from google.protobuf import json_format
from numpy.typing import NDArray

from nucleate import errors
from nucleate.interactive.refinement import RefinementOptions
from nucleate.interactive.service.messages import file_readers, message_text, refinement_message, refinement_options
from nucleate.interactive.service.model_cache import ModelCache
from nucleate.interactive.sessions.objects import Box
from nucleate.interactive.sessions.session import Limits, initial_state, require_same_size
from nucleate.interactive.sessions.session_input import PreparedImage, SessionInput, window_for
from nucleate.interactive.sessions.state import SessionState
from nucleate.pathology.images.codec import decode_image, decode_instances, encode_instances, encode_png
from nucleate.pathology.segmentation import classical
from nucleate.runtime.blobs import Blobs
from nucleate.v1 import common_pb2
from nucleate.v1 import interactive_pb2 as pb

_REFERENCE = re.compile(r"model:(sha256/[0-9a-f]{2}/([0-9a-f]{64}))", re.ASCII)


class StoredSessionOpener:
    """Opens sessions from their requests; `default_model` is a reference, "model:sha256/…", or empty."""

    def __init__(
        self, blobs: Blobs, models: ModelCache, options: RefinementOptions, limits: Limits, *, default_model: str
    ) -> None:
        self._blobs, self._models, self._options, self._limits = blobs, models, options, limits
        self._default_model = default_model
        self._prepared: WeakValueDictionary[str, PreparedImage] = WeakValueDictionary()

    def resolve(self, request: str) -> str:
        """The request with model and refinement named in full, as they are now: later clicks must not depend on settings.

        Raises:
            errors.InvalidInput: a model and a reference, an unknown refinement, or one with too many evaluations.
            errors.InvalidModel: a reference to no model.
            errors.Precondition: no model is named, and the service has no default.
        """
        message = json_format.Parse(request, pb.OpenSessionRequest())
        named = message.model != common_pb2.Model()
        if named and message.model_ref:
            raise errors.InvalidInput("the request has a model and a model_ref: send one of them")
        if not named:
            message.model.CopyFrom(self._stored_model(message.model_ref or self._default_model))
            message.ClearField("model_ref")
        message.refinement.CopyFrom(refinement_message(message.refinement, self._options))
        return message_text(message)

    def open(self, resolved: str) -> tuple[SessionInput, SessionState]:
        """Fetch and check everything that a resolved request names."""
        request = json_format.Parse(resolved, pb.OpenSessionRequest())
        name = f"image '{request.image.id}'"
        prepared = self._prepared_image(request, name)
        w = request.window
        window = window_for(name, prepared.image, Box(w.x, w.y, w.width, w.height) if w != common_pb2.Window() else None)
        proposals_HW = None
        if request.proposals != common_pb2.Blob():
            proposals_HW = decode_instances(self._blobs.get(request.proposals), f"proposals for {name}")
        return SessionInput(prepared, window), initial_state(name, prepared.image, window, proposals_HW, self._limits)

    def read_proposals(self, request: pb.ProposeRequest, inputs: SessionInput) -> tuple[NDArray[np.int32], Box]:
        """The map that a request proposes, and the window as it lies in it."""
        w = inputs.window
        if request.WhichOneof("source") == "classical":
            return classical.segment(inputs.pixels()), Box(0, 0, w.width, w.height)
        labels_HW = decode_instances(self._blobs.get(request.instances), "the proposals")
        require_same_size("the session's image", inputs.prepared.image, labels_HW)
        return labels_HW, w

    def publish(self, pixels_HW3: NDArray[np.uint8], instances_HW: NDArray[np.int32], request: str) -> str:
        """Store a session's result; its id says which part of which image it is."""
        message = json_format.Parse(request, pb.OpenSessionRequest())
        height, width = instances_HW.shape
        data, media_type = encode_instances(instances_HW)
        labelled = common_pb2.LabelledImage(
            id=f"{message.image.id}@{message.window.x},{message.window.y},{width}x{height}",
            image=self._blobs.put(encode_png(pixels_HW3), "image/png", dtype="uint8", shape=(height, width, 3)),
            instances=self._blobs.put(data, media_type, dtype="uint16", shape=(height, width)),
        )
        return message_text(labelled)

    def _prepared_image(self, request: pb.OpenSessionRequest, name: str) -> PreparedImage:
        """The image, decoded and standardised once for all sessions that predict on it alike."""
        model, data = request.model, request.image.data
        files = "/".join([model.kind, model.card.sha256, *(f"{n}={model.files[n].sha256}" for n in sorted(model.files))])
        key = f"{data.uri} {data.sha256} {data.size} {files} {message_text(request.refinement)}"
        if shared := self._prepared.get(key):
            return shared
        loaded = self._models.get(files, model.kind, partial(self._blobs.get, model.card), file_readers(self._blobs, model))
        image_HW3 = decode_image(self._blobs.get(data), name)
        predictor = loaded.predictor(refinement_options(request.refinement, self._options))
        predictor.set_image(image_HW3)
        return self._prepared.setdefault(key, PreparedImage(image_HW3, predictor))

    def _stored_model(self, reference: str) -> common_pb2.Model:
        """The model that a reference in the store stands for."""
        if not reference:
            raise errors.Precondition(
                "no model is named and the service has no default: send a model or a model_ref, or set NUCLEATE_MODEL"
            )
        found = _REFERENCE.fullmatch(reference)
        if not found:
            raise errors.InvalidModel(f"model_ref {reference[:120]!r} is no reference: use 'model:sha256/...' as it was given")
        try:
            data = self._blobs.store.get(found[1])
            model = json_format.Parse(data, common_pb2.Model())
        except (errors.NotFound, json_format.ParseError, UnicodeDecodeError):
            raise errors.InvalidModel(f"model_ref {reference} names no stored model: store the model first") from None
        if hashlib.sha256(data).hexdigest() != found[2]:
            raise errors.CorruptBlob(f"model_ref {reference}: the stored bytes are not those it names, store the model again")
        return model

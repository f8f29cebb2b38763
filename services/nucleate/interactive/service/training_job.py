"""A training job: its data set and initial model fetched, the trained model stored."""

from __future__ import annotations

from functools import partial

from nucleate.dataset.manifest import Dataset
from nucleate.interactive.networks.model_file import KIND, ModelCard, pack
from nucleate.interactive.service.messages import blob_reader, file_readers
from nucleate.interactive.service.model_cache import read_network, set_torch_threads
from nucleate.interactive.training.loop import train
from nucleate.interactive.training.profiles import profile_named
from nucleate.runtime.blobs import Blobs
from nucleate.runtime.jobs import Job
from nucleate.v1 import common_pb2
from nucleate.v1 import interactive_pb2 as pb

_MEDIA_TYPES = {"model.safetensors": "application/vnd.safetensors", "backbone.onnx": "application/octet-stream"}


def train_model(
    request: pb.InteractiveServiceTrainRequest, blobs: Blobs, device: str, threads: int, job: Job
) -> pb.InteractiveServiceTrainResult:
    """Train on `threads` threads as the request says; see `training.loop.train`."""
    set_torch_threads(threads)
    profile, parent, initial = profile_named(request.profile), "", None
    if request.initial != common_pb2.Model():
        parent, card = request.initial.card.sha256, blobs.get(request.initial.card)
        _, initial = read_network(request.initial.kind, file_readers(blobs, request.initial), card)
    dataset = Dataset.from_json(blobs.get(request.dataset.manifest))
    trained = train(dataset, partial(blob_reader, blobs), profile, request.seed, job, initial=initial, device=device)
    card_of = ModelCard(profile.architecture, profile.crop, request.profile or "cpu", dataset.digest, parent, trained.metrics)
    model = common_pb2.Model(kind=KIND, card=blobs.put(card_of.to_json(), "application/json"))
    for name, data in pack(trained.network).items():
        model.files[name].CopyFrom(blobs.put(data, _MEDIA_TYPES[name]))
    return pb.InteractiveServiceTrainResult(model=model, metrics=trained.metrics)

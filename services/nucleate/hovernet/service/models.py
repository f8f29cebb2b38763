"""Models in the store: read, checked and kept; written with their ONNX program."""

from __future__ import annotations

import dataclasses
import threading
from collections import OrderedDict

import torch

from nucleate.errors import InvalidInput, InvalidModel
from nucleate.hovernet import profiles
from nucleate.hovernet.networks import model_file, onnx
from nucleate.hovernet.networks.hovernet import HoVerNet
from nucleate.hovernet.profiles import Profile
from nucleate.hovernet.segmentation.image_segmentation import ClassicalSegmenter, NetworkSegmenter
from nucleate.hovernet.training.loop import TrainingResult as TrainedNet
from nucleate.runtime.blobs import Blobs
from nucleate.v1 import common_pb2
from nucleate.v1 import hovernet_pb2 as pb

_CACHE_SIZE = 2


class Segmenters:
    """Segmenters on one device, the latest two models kept; safe to use from several threads.

    Reading and checking a model takes as long as half a megapixel through the `cpu` network.
    """

    def __init__(self, blobs: Blobs, device: torch.device) -> None:
        self._blobs, self._device = blobs, device
        self._cache: OrderedDict[bytes, NetworkSegmenter] = OrderedDict()
        self._lock = threading.Lock()

    def named(self, request: pb.SegmentRequest) -> NetworkSegmenter | ClassicalSegmenter:
        """The segmenter a request names."""
        match request.WhichOneof("segmenter"):
            case "model":
                return self.trained(request.model, request.views)
            case "classical":
                return ClassicalSegmenter()
            case _:
                raise InvalidInput("the request names no segmenter: send a model, or classical")

    def trained(self, model: common_pb2.Model, views: int) -> NetworkSegmenter:
        """A model's network, on a CPU its ONNX program where it has one; `views` 0 averages as many as its profile says."""
        key = model.SerializeToString(deterministic=True)  # names its files by their digests
        with self._lock:
            if key not in self._cache:
                self._cache[key] = self._read(model)
                while len(self._cache) > _CACHE_SIZE:
                    self._cache.popitem(last=False)
            self._cache.move_to_end(key)
            found = self._cache[key]
        tiling = found.profile.tiling.averaging(views)
        return dataclasses.replace(found, profile=dataclasses.replace(found.profile, tiling=tiling))

    def _read(self, model: common_pb2.Model) -> NetworkSegmenter:
        net, profile = network_and_profile(model, self._blobs, self._device)
        program = model.files.get(onnx.FILE)
        if program is None or self._device.type != "cpu":
            return NetworkSegmenter(net, profile)
        return NetworkSegmenter(onnx.load_network(self._blobs.get(program), net, threads=torch.get_num_threads()), profile)


def network_and_profile(model: common_pb2.Model, blobs: Blobs, device: torch.device) -> tuple[HoVerNet, Profile]:
    """A model's network on `device` and the profile it was trained by."""
    loaded = unpacked(model, blobs)
    return loaded.net.to(device), profiles.named(loaded.profile)


def unpacked(model: common_pb2.Model, blobs: Blobs) -> model_file.LoadedModel:
    """A model read from the store; raises `InvalidModel` where it is of another kind or damaged."""
    if model.kind != model_file.KIND or model_file.WEIGHTS not in model.files:
        raise InvalidModel(
            f"the request needs a model of kind '{model_file.KIND}' with '{model_file.WEIGHTS}'; "
            f"it has kind '{model.kind[:40]}'"
        )
    return model_file.unpack(blobs.get(model.card), blobs.get(model.files[model_file.WEIGHTS]))


def model_message(trained: TrainedNet, profile: Profile, digest: str, parent: str, blobs: Blobs) -> common_pb2.Model:
    """Stores a trained network and names it."""
    card, weights = model_file.pack(trained.net, profile.name, dataset_digest=digest, parent=parent, metrics=trained.metrics)
    files = {model_file.WEIGHTS: blobs.put(weights, "application/vnd.safetensors")}
    model = common_pb2.Model(kind=model_file.KIND, card=blobs.put(card, "application/json"), files=files)
    return exported(model, trained.net, blobs)


def exported(model: common_pb2.Model, net: HoVerNet, blobs: Blobs) -> common_pb2.Model:
    """The model with its network's ONNX program, checked against the weights, in place of any it had."""
    data = onnx.export_network(net)
    onnx.load_network(data, net, threads=1)
    result = common_pb2.Model()
    result.CopyFrom(model)
    result.files[onnx.FILE].CopyFrom(blobs.put(data, "application/vnd.onnx"))
    return result

"""A trained model as files: model.safetensors, backbone.onnx and a JSON card; checked when it is read back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from nucleate import errors
from nucleate.interactive.export import export_encoder
from nucleate.interactive.network import STRIDE, InteractiveNetwork
from nucleate.interactive.profiles import Architecture
from nucleate.interactive.runtime import OnnxBackbone

KIND = "interactive"
ARCHITECTURE = "fusion-hrnet-ocr"
WEIGHTS, BACKBONE = "model.safetensors", "backbone.onnx"
PARITY = 1e-2  # largest difference between torch and ONNX Runtime, relative to the largest feature


@dataclass(frozen=True)
class ModelCard:
    """What a model is and where it comes from; `crop` is the frame side in px it was trained on."""

    config: Architecture
    crop: int
    profile: str
    dataset_digest: str
    parent: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    created_by: str = "nucleate"

    def to_json(self) -> bytes:
        """Sorted JSON."""
        values = {
            "kind": KIND,
            "architecture": ARCHITECTURE,
            "config": {**self.config.to_json(), "crop": self.crop},
            "profile": self.profile,
            "dataset_digest": self.dataset_digest,
            "parent": self.parent,
            "metrics": dict(self.metrics),
            "created_by": self.created_by,
        }
        return json.dumps(values, sort_keys=True).encode()

    @classmethod
    def from_json(cls, data: bytes) -> ModelCard:
        """Read `to_json` back.

        Raises:
            errors.InvalidModel: not a card of this kind of model.
        """
        try:
            values = json.loads(data)
        except ValueError as error:
            raise errors.InvalidModel("model card: not JSON") from error
        if not isinstance(values, dict) or (values.get("kind"), values.get("architecture")) != (KIND, ARCHITECTURE):
            raise errors.InvalidModel(f"model card: need a model of kind '{KIND}' and architecture '{ARCHITECTURE}'")
        config = dict(values["config"]) if isinstance(values.get("config"), dict) else {}
        crop = config.pop("crop", None)
        if type(crop) is not int or crop % 32 or not 32 <= crop <= 512:
            raise errors.InvalidModel("model card: 'crop' must be a multiple of 32 from 32 to 512")
        profile, digest = str(values.get("profile", "")), str(values.get("dataset_digest", ""))
        return cls(Architecture.from_json(config), crop, profile, digest, str(values.get("parent", "")))


def pack(network: InteractiveNetwork) -> dict[str, bytes]:
    """The model's files."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    return {WEIGHTS: save(tensors), BACKBONE: export_encoder(network.encoder)}


def load_network(config: Architecture, weights: bytes) -> InteractiveNetwork:
    """Network in inference mode from model.safetensors.

    Raises:
        errors.InvalidModel: unreadable, of another architecture, or not finite.
    """
    network = InteractiveNetwork(config)
    try:
        tensors = load(weights)
    except (SafetensorError, ValueError) as error:
        raise errors.InvalidModel(f"{WEIGHTS} cannot be read: the file is damaged") from error
    expected = network.state_dict()
    if {name: value.shape for name, value in tensors.items()} != {name: value.shape for name, value in expected.items()}:
        raise errors.InvalidModel(f"{WEIGHTS} does not fit the architecture on the model card")
    broken = [name for name, value in tensors.items() if not torch.isfinite(value).all()]
    if broken:
        raise errors.InvalidModel(f"{WEIGHTS}: '{broken[0]}' holds values that are not finite: train the model again")
    network.load_state_dict(tensors)
    return network.eval()


def load_backbone(network: InteractiveNetwork, model: bytes, device: str = "cpu", threads: int = 0) -> OnnxBackbone:
    """backbone.onnx, checked against the weights on a fixed pattern.

    Raises:
        errors.InvalidModel: it is damaged, not finite or was exported from other weights.
    """
    backbone = OnnxBackbone(model, device, threads)
    rng = np.random.default_rng(0)
    inputs = [rng.random((1, channels, 32, 64), np.float32) for channels in (3, 2, 1)]
    with torch.no_grad():
        expected = network.cpu().encoder(*map(torch.from_numpy, inputs)).numpy()
    try:
        found = backbone.encode(*inputs)
    except Exception as error:  # wrong shapes inside the graph show only when it runs
        raise errors.InvalidModel(f"{BACKBONE} does not run: export the model again") from error
    shape = (1, network.config.features, 32 // STRIDE, 64 // STRIDE)
    if found.shape != shape or not np.abs(found - expected).max() <= PARITY * max(float(np.abs(expected).max()), 1.0):
        raise errors.InvalidModel(f"{BACKBONE} does not belong to {WEIGHTS}: export the model again")
    return backbone

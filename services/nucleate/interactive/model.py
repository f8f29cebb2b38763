"""A trained model as files: model.safetensors, backbone.onnx and a JSON card; checked when it is read back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

from nucleate import errors
from nucleate.interactive.architectures import Architecture
from nucleate.interactive.export import export_encoder
from nucleate.interactive.network import CHANNELS, STRIDE, InteractiveNetwork
from nucleate.interactive.runtime import OnnxBackbone
from nucleate.learning.model_file import ModelFormat, pack_weights

KIND = "interactive"
FORMAT = ModelFormat(KIND, "fusion-hrnet-ocr")
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

    def to_json(self) -> bytes:
        """Sorted JSON."""
        config = {**self.config.to_json(), "crop": self.crop}
        return FORMAT.card(config, self.profile, dataset_digest=self.dataset_digest, parent=self.parent, metrics=self.metrics)

    @classmethod
    def from_json(cls, data: bytes) -> ModelCard:
        """Read `to_json` back.

        Raises:
            errors.InvalidModel: not a card of this kind of model.
        """
        values = FORMAT.read_card(data)
        config = dict(values["config"]) if isinstance(values.get("config"), dict) else {}
        crop = config.pop("crop", None)
        if type(crop) is not int or crop % 32 or not 32 <= crop <= 512:
            raise errors.InvalidModel("model card: 'crop' must be a multiple of 32 from 32 to 512")
        profile, digest = str(values.get("profile", "")), str(values.get("dataset_digest", ""))
        return cls(Architecture.from_json(config), crop, profile, digest, str(values.get("parent", "")))


def pack(network: InteractiveNetwork) -> dict[str, bytes]:
    """The model's files."""
    return {WEIGHTS: pack_weights(network), BACKBONE: export_encoder(network.encoder)}


def load_network(config: Architecture, weights: bytes) -> InteractiveNetwork:
    """Network in inference mode from model.safetensors.

    Raises:
        errors.InvalidModel: unreadable, of another architecture, or not finite.
    """
    network = InteractiveNetwork(config)
    FORMAT.load_weights(network, {WEIGHTS: weights}, WEIGHTS)
    return network.eval()


def load_backbone(network: InteractiveNetwork, model: bytes, device: str = "cpu", threads: int = 0) -> OnnxBackbone:
    """backbone.onnx, checked against the weights on a fixed pattern.

    Raises:
        errors.InvalidModel: it is damaged, not finite or was exported from other weights.
    """
    backbone = OnnxBackbone(model, device, threads)
    rng = np.random.default_rng(0)
    inputs = [rng.random((1, channels, 32, 64), np.float32) for channels in CHANNELS]
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

"""A trained model as files: model.safetensors, backbone.onnx and a JSON card; checked when it is read back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from nucleate import errors
from nucleate.interactive.networks.architectures import Architecture
from nucleate.interactive.networks.encoder_runtime import FILE, OnnxBackbone
from nucleate.interactive.networks.interactive_network import CHANNELS, InteractiveNetwork
from nucleate.interactive.networks.onnx_export import export_encoder
from nucleate.learning.model_file import ModelFormat, pack_weights

KIND = "interactive"
FORMAT = ModelFormat(KIND, "fusion-hrnet-ocr")
WEIGHTS, BACKBONE = "model.safetensors", FILE
PARITY_TOLERANCE = 1e-2  # largest difference between torch and ONNX Runtime, relative to the largest feature


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
        errors.InvalidModel: unreadable, of another architecture, or not finite, be it the weights or their answer.
    """
    network = InteractiveNetwork(config)
    FORMAT.load_weights(network, {WEIGHTS: weights}, WEIGHTS)
    network.eval()
    with torch.no_grad():
        logits_11HW, _ = network(*_check_inputs())
    if not bool(logits_11HW.isfinite().all()):
        raise errors.InvalidModel(f"{WEIGHTS} gives no finite answer: train the model again")
    return network


def _check_inputs() -> list[Tensor]:
    """Fixed inputs of the encoder for the tests at load."""
    generator = torch.Generator().manual_seed(0)
    return [torch.rand((1, channels, 32, 64), generator=generator) for channels in CHANNELS]


def load_backbone(network: InteractiveNetwork, model: bytes, device: str = "cpu", threads: int = 0) -> OnnxBackbone:
    """backbone.onnx, checked against the weights on a fixed pattern; the network is moved to the CPU for it.

    Raises:
        errors.InvalidModel: it is damaged, not finite or was exported from other weights.
    """
    backbone = OnnxBackbone(model, device, threads)
    inputs = _check_inputs()
    with torch.no_grad():
        expected = network.cpu().encoder(*inputs)
    try:
        found = backbone.encode(*inputs).cpu()
    except Exception as error:  # wrong shapes inside the graph show only when it runs
        raise errors.InvalidModel(f"{BACKBONE} does not run: export the model again") from error
    if found.shape != expected.shape or not (found - expected).abs().max() <= PARITY_TOLERANCE * expected.abs().max().clamp_min(
        1.0
    ):
        raise errors.InvalidModel(f"{BACKBONE} does not belong to {WEIGHTS}: export the model again")
    return backbone

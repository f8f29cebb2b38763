"""Fitted methods and trained ColorNormNets as bytes: JSON cards, safetensors and ONNX; nothing is ever unpickled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nucleate.colornorm.colornormnet.network import MODES, ColorNormNet, Shape, build_network
from nucleate.colornorm.colornormnet.normalizer import ColorNormNetNormalizer, Predictor, on_device
from nucleate.colornorm.methods.registry import METHODS, Fitted, Normalizer
from nucleate.colornorm.profiles import Profile
from nucleate.errors import InvalidModel
from nucleate.learning.model_file import ModelBytes, ModelFormat, pack_weights
from nucleate.learning.onnx_program import OnnxProgram, export

KIND = "colornorm"
_NET, _FITTED = ModelFormat(KIND, "colornormnet/2"), ModelFormat(KIND, "fitted/1")
WEIGHTS_FILE, ONNX_FILE, TARGET_FILE = "model.safetensors", "model.onnx", "target.json"
MAX_LAYERS = 6
MAX_WIDTH = 512
_PARITY = 1e-4
_FAR = 1e4  # no measurement is this large


@dataclass(frozen=True)
class Config:
    """What it takes to build the network again and to feed it."""

    shape: Shape
    thumbnail: int


class _Exported(nn.Module):
    """The network with its changes as maps, as ONNX wants one output of four axes."""

    def __init__(self, network: ColorNormNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, rgb_B3hw: Tensor, weight_B1hw: Tensor) -> Tensor:
        changes: Tensor = self.network(rgb_B3hw, weight_B1hw)
        return changes


def pack(network: ColorNormNet, profile: Profile, *, dataset_digest: str, metrics: Mapping[str, float]) -> ModelBytes:
    """The trained network with what is needed to use it, here and in ONNX Runtime.

    model.onnx: `rgb` 1 x 3 x h x w on [0, 1] and `weight` 1 x 1 x h x w, a thumbnail of the card's side `thumbnail` and its
    tissue weights, to `changes` 1 x K x i x j, see `changes`.
    """
    config = asdict(network.shape) | {"thumbnail": profile.thumbnail}
    card = _NET.card(config, profile.name, dataset_digest=dataset_digest, parent="", metrics=metrics)
    return ModelBytes(card, {WEIGHTS_FILE: pack_weights(network), ONNX_FILE: export_network(network, profile.thumbnail)})


def export_network(network: ColorNormNet, side: int) -> bytes:
    """model.onnx for thumbnails of `side` px."""
    example = {"rgb": torch.rand(1, 3, side, side), "weight": torch.rand(1, 1, side, side)}
    return export(_Exported(network), example, "changes")


def pack_fitted(fitted: Fitted, *, dataset_digest: str) -> ModelBytes:
    """A fitted method: its card names it, and a file holds the target's measurement."""
    card = _FITTED.card({"method": fitted.method.name}, "", dataset_digest=dataset_digest, parent="", metrics={})
    return ModelBytes(card, {TARGET_FILE: json.dumps(fitted.target.tolist()).encode()})


def unpack(model: ModelBytes, device: torch.device) -> Normalizer:
    """The normalizer of a packed model.

    Raises:
        InvalidModel: kind, architecture and shapes do not fit, or a number is not finite.
    """
    if b'"fitted/1"' in model.card:
        return _fitted(_FITTED.read_card(model.card).get("config"), model.files.get(TARGET_FILE, b""))
    network, config = unpack_network(model)
    if device.type == "cpu" and ONNX_FILE in model.files:
        predict = _program(model.files[ONNX_FILE], network, config.thumbnail)
    else:
        predict = on_device(network.to(device))
    return ColorNormNetNormalizer(predict, config.thumbnail, config.shape.mode)


def _program(data: bytes, network: ColorNormNet, side: int) -> Predictor:
    """model.onnx, checked against the weights on a fixed pattern; one thread, as so small a network wants."""
    program = OnnxProgram(data, ONNX_FILE, ["rgb", "weight"], "changes", threads=1)
    pattern = torch.rand(1, 4, side, side, generator=torch.Generator().manual_seed(0))
    rgb, weight = pattern[:, :3], pattern[:, 3:]
    with torch.inference_mode():
        expected = network(rgb, weight)

    def predict(rgb_13hw: Tensor, weight_11hw: Tensor) -> Tensor:
        return program.run({"rgb": rgb_13hw, "weight": weight_11hw}, *expected.shape[2:])

    try:
        found = predict(rgb, weight)
    except Exception as error:  # wrong shapes inside the graph show only when it runs
        raise InvalidModel(f"{ONNX_FILE} does not run: train the model again") from error
    if not (found - expected).abs().max() <= _PARITY:
        raise InvalidModel(f"{ONNX_FILE} does not belong to the weights: train the model again")
    return predict


def unpack_network(model: ModelBytes) -> tuple[ColorNormNet, Config]:
    """The network of a trained model; raises as `unpack`."""
    config = _config(_NET.read_card(model.card).get("config"))
    network = build_network(config.shape, seed=0)
    _NET.load_weights(network, model.files, WEIGHTS_FILE)
    return network.eval(), config


def _fitted(fields: Any, measured: bytes) -> Fitted:
    try:
        method, target = METHODS[fields["method"]], np.array(json.loads(measured), np.float64)
    except (KeyError, TypeError, ValueError):
        raise _damaged() from None
    if target.shape != (method.size,) or not np.isfinite(target).all() or np.abs(target).max() > _FAR:
        raise _damaged()
    return Fitted(method, target)


def _config(fields: Any) -> Config:
    try:
        shape = Shape(tuple(fields["widths"]), fields["mode"], fields["green"])
        side = fields["thumbnail"]
    except (KeyError, TypeError):
        raise _damaged() from None
    sizes = (*shape.widths, side)
    if not (
        0 < len(shape.widths) <= MAX_LAYERS
        and all(type(size) is int and 0 < size <= MAX_WIDTH for size in sizes)
        and shape.mode in MODES
        and isinstance(shape.green, bool)
    ):
        raise _damaged()
    return Config(shape, side)


def _damaged() -> InvalidModel:
    return InvalidModel("colornorm model: the card's config is damaged or out of range; send the model as it was returned")

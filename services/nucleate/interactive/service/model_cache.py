"""Loaded models, kept by the digests of their files."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from nucleate import errors
from nucleate.interactive.networks.encoder_runtime import OnnxBackbone
from nucleate.interactive.networks.interactive_network import InteractiveNetwork
from nucleate.interactive.networks.model_file import BACKBONE, KIND, WEIGHTS, ModelCard, load_backbone, load_network
from nucleate.interactive.prediction.predictor import Predictor
from nucleate.interactive.refinement import RefinementOptions


def set_torch_threads(count: int) -> None:
    """Let torch use that many threads for what this thread asks of it; others keep the number they have set."""
    if torch.get_num_threads() != count:
        torch.set_num_threads(count)


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A checked model that is ready to predict."""

    card: ModelCard
    network: InteractiveNetwork
    backbone: OnnxBackbone
    device: str

    def predictor(self, options: RefinementOptions) -> Predictor:
        """A predictor of its own; weights and the ONNX session are shared."""
        return Predictor(self.network, self.backbone, self.card.crop, options, device=self.device)


def read_network(kind: str, files: Mapping[str, Callable[[], bytes]], card: bytes) -> tuple[ModelCard, InteractiveNetwork]:
    """Card and network of a model given as its parts.

    Raises:
        errors.InvalidModel: another kind of model, a part missing or damaged.
    """
    if kind != KIND:
        raise errors.InvalidModel(f"a model of kind '{kind}' was given: an '{KIND}' model is needed")
    for name in (WEIGHTS, BACKBONE):
        if name not in files:
            raise errors.InvalidModel(f"the model has no {name}: train or export it again")
    read = ModelCard.from_json(card)
    return read, load_network(read.config, files[WEIGHTS]())


class ModelCache:
    """The latest few models of a replica."""

    def __init__(self, device: str, threads: int, max_models: int = 4) -> None:
        self._device, self._threads, self._max_models = device, threads, max_models
        self._loaded: OrderedDict[str, LoadedModel] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: str, kind: str, card: Callable[[], bytes], files: Mapping[str, Callable[[], bytes]]) -> LoadedModel:
        """The model under `key`, which must name the contents of all its files."""
        with self._lock:
            if key not in self._loaded:
                read, network = read_network(kind, files, card())
                backbone = load_backbone(network, files[BACKBONE](), self._device, self._threads)
                self._loaded[key] = LoadedModel(read, network.to(self._device), backbone, self._device)
                while len(self._loaded) > self._max_models:
                    self._loaded.popitem(last=False)
            self._loaded.move_to_end(key)
            return self._loaded[key]

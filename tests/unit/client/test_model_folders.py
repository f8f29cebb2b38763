"""Models travel as folders, there and back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nucleate.client.files.model_folders import load_model, save_model, store_model
from nucleate.errors import InvalidModel
from nucleate.runtime.blobs import Blobs
from nucleate.runtime.store import MemoryStore
from nucleate.v1 import common_pb2


@pytest.fixture
def blobs() -> Blobs:
    return Blobs(MemoryStore())


def model_in(blobs: Blobs, **files: bytes) -> common_pb2.Model:
    card = blobs.put(json.dumps({"kind": "hovernet"}).encode(), "application/json")
    stored = {name.replace("_", "."): blobs.put(data, "application/octet-stream") for name, data in files.items()}
    return common_pb2.Model(kind="hovernet", card=card, files=stored)


def test_a_model_goes_to_a_folder_and_back(blobs: Blobs, tmp_path: Path):
    model = model_in(blobs, model_safetensors=b"weights", backbone_onnx=b"graph")
    reference = save_model(model, tmp_path / "m", blobs)
    elsewhere = Blobs(MemoryStore())
    loaded = load_model(str(reference), elsewhere, "hovernet")
    assert elsewhere.get(loaded.card) == blobs.get(model.card)
    assert {name: elsewhere.get(blob) for name, blob in loaded.files.items()} == {
        "model.safetensors": b"weights",
        "backbone.onnx": b"graph",
    }


def test_a_model_is_found_again_in_the_store(blobs: Blobs):
    model = model_in(blobs, model_safetensors=b"weights")
    assert load_model(store_model(model, blobs), blobs) == model


def test_wrong_references_name_the_fix(blobs: Blobs, tmp_path: Path):
    exported = save_model(model_in(blobs, model_safetensors=b"w"), tmp_path / "out" / "models" / "hovernet", blobs)
    with pytest.raises(InvalidModel, match="is of kind 'hovernet': this command takes a model of kind 'interactive'"):
        load_model(str(exported), blobs, "interactive")
    with pytest.raises(InvalidModel, match=f"no model at .*such as {exported}"):
        load_model(str(tmp_path / "out"), blobs)
    for missing in (str(tmp_path / "nowhere"), "model:sha256/ab/cd", "model:", "model:../../x"):
        with pytest.raises(InvalidModel, match=r"no model|is not a model"):
            load_model(missing, blobs)
    (exported / "card.json").write_text("[]")
    with pytest.raises(InvalidModel, match="not a model card"):
        load_model(str(exported), blobs)
    (exported / "card.json").write_text('{"kind": "hovernet"}')
    (exported / "model.safetensors").unlink()
    with pytest.raises(InvalidModel, match="no weights"):
        load_model(str(exported), blobs)


@pytest.mark.parametrize("name", ["../evil", "card.json", ".hidden", ""])
def test_file_names_of_a_model_are_never_paths(blobs: Blobs, tmp_path: Path, name: str):
    model = model_in(blobs)
    model.files[name].CopyFrom(blobs.put(b"x", "text/plain"))
    with pytest.raises(InvalidModel, match="not a plain file name"):
        save_model(model, tmp_path / "m", blobs)
    assert list(tmp_path.iterdir()) == []

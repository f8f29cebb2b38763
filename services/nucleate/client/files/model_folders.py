"""Models as folders: `card.json` plus the files that the card's model needs."""

from __future__ import annotations

import json
from pathlib import Path

from google.protobuf import json_format

from nucleate.client.files.output_files import output_folder
from nucleate.errors import InvalidInput, InvalidModel, NotFound
from nucleate.runtime.blobs import Blobs
from nucleate.v1 import common_pb2

CARD = "card.json"
URI = "model:"
MANIFEST = "application/vnd.nucleate.model+json"
_MEDIA = {".safetensors": "application/vnd.safetensors", ".onnx": "application/vnd.onnx", ".json": "application/json"}


def save_model(model: common_pb2.Model, folder: Path, blobs: Blobs) -> Path:
    """Write a model's card and files into `folder`; return its absolute path, which `load_model` takes.

    Raises:
        InvalidModel: a file name that is no plain name.
    """
    folder = folder.absolute()
    with output_folder(folder) as staging:
        for name, blob in model.files.items():
            if not name or name == CARD or Path(name).name != name or name.startswith("."):
                raise InvalidModel(f"model file '{name}' is not a plain file name: export the model again")
            (staging / name).write_bytes(blobs.get(blob))
        (staging / CARD).write_bytes(blobs.get(model.card))
    return folder


def load_model(reference: str, blobs: Blobs, kind: str = "") -> common_pb2.Model:
    """Read a model from an exported folder into the store, or find it there by its "model:sha256/…" URI.

    `kind` is what the caller needs ("hovernet", "interactive", …); empty takes any.

    Raises:
        InvalidModel: no such folder, no card, a damaged card, no files, or another kind of model.
    """
    model = _from_store(reference, blobs) if reference.startswith(URI) else _from_folder(Path(reference), blobs)
    _check_kind(reference, model.kind, kind)
    return model


def check_model(reference: str, kind: str) -> None:
    """Raise what `load_model` would raise of a folder, before anything is started or stored; a URI cannot be checked yet."""
    if not reference.startswith(URI):
        _check_kind(reference, _read_card(Path(reference))[0], kind)


def store_model(model: common_pb2.Model, blobs: Blobs) -> str:
    """Keep the references of a model in the store; return its URI, which `load_model` takes."""
    manifest = json_format.MessageToDict(model, preserving_proto_field_name=True)
    return URI + blobs.put(json.dumps(manifest, sort_keys=True).encode(), MANIFEST).uri


def _from_folder(folder: Path, blobs: Blobs) -> common_pb2.Model:
    kind, card, paths = _read_card(folder)
    return common_pb2.Model(
        kind=kind,
        card=blobs.put(card, "application/json"),
        files={path.name: blobs.put(path.read_bytes(), _MEDIA.get(path.suffix, "application/octet-stream")) for path in paths},
    )


def _read_card(folder: Path) -> tuple[str, bytes, list[Path]]:
    """Return the kind, the card's bytes and the model's other files."""
    try:
        card = (folder / CARD).read_bytes()
        paths = sorted(path for path in folder.iterdir() if _is_model_file(path))
    except OSError:
        raise InvalidModel(f"no model at {folder}: give a folder with {CARD}{_hint(folder)}") from None
    try:
        kind = str(json.loads(card)["kind"])
    except (ValueError, KeyError, TypeError):
        raise InvalidModel(f"{folder / CARD} is not a model card: export the model again") from None
    if not paths:
        raise InvalidModel(f"model folder {folder} has a card but no weights: export the model again")
    return kind, card, paths


def _check_kind(reference: str, kind: str, wanted: str) -> None:
    if wanted and kind != wanted:
        raise InvalidModel(f"model {reference} is of kind '{kind}': this command takes a model of kind '{wanted}'")


def _is_model_file(path: Path) -> bool:
    return path.is_file() and path.name != CARD and not path.name.startswith(".")


def _hint(folder: Path) -> str:
    """Name the models below a report's folder, in case that was given."""
    found = sorted(str(card.parent) for pattern in ("*/card.json", "models/*/card.json") for card in folder.glob(pattern))
    return f", such as {' or '.join(found)}" if found else ""


def _from_store(reference: str, blobs: Blobs) -> common_pb2.Model:
    key = reference.removeprefix(URI)
    try:
        data = blobs.store.get(key)
        return json_format.Parse(data, common_pb2.Model())
    except NotFound:
        raise InvalidModel(f"no model {reference} in the object store: give an exported model folder") from None
    except (json_format.ParseError, UnicodeDecodeError, InvalidInput):
        raise InvalidModel(f"{reference} is not a model: give an exported model folder") from None

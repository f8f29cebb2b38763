"""Between protocol messages and the method's own values."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray

from nucleate.colornorm import model_file
from nucleate.colornorm.methods.registry import METHODS, NORMALIZED, Fitted, Method, Normalizer, normalize
from nucleate.errors import EmptyInput, InvalidInput, InvalidModel
from nucleate.learning.model_file import ModelBytes
from nucleate.pathology.images.codec import decode_image, encode_png
from nucleate.pathology.images.whole_slide import Slide
from nucleate.runtime.blobs import MAX_INLINE, Blobs
from nucleate.v1 import colornorm_pb2 as pb
from nucleate.v1 import common_pb2

_CODES = MappingProxyType(
    {
        "reinhard": pb.NORMALIZATION_METHOD_REINHARD,
        "macenko": pb.NORMALIZATION_METHOD_MACENKO,
        "vahadane": pb.NORMALIZATION_METHOD_VAHADANE,
        "khan": pb.NORMALIZATION_METHOD_KHAN,
    }
)
_MODES = MappingProxyType(
    {
        pb.CHANGE_MODE_UNSPECIFIED: "offset",
        pb.CHANGE_MODE_OFFSET: "offset",
        pb.CHANGE_MODE_PIXEL: "pixel",
        pb.CHANGE_MODE_DENSITY: "density",
    }
)
_NET_SOURCE = "project report, chapter 6: a network trained on the target alone says what has to be done to each channel"
_NET_MILLISECONDS = 8.0
Request = pb.NormalizeRequest | pb.NormalizeSlideRequest


def method_infos() -> Iterator[pb.MethodInfo]:
    """All methods, the quickest to set up first."""
    for name, method in METHODS.items():
        yield pb.MethodInfo(method=_CODES[name], name=name, source=method.source, milliseconds=method.milliseconds)
    yield pb.MethodInfo(
        method=pb.NORMALIZATION_METHOD_COLORNORMNET,
        name="colornormnet",
        source=_NET_SOURCE,
        milliseconds=_NET_MILLISECONDS,
        trained=True,
    )


def mode_of(request: pb.ColorNormServiceTrainRequest) -> str:
    """The change mode by name.

    Raises:
        InvalidInput: there is none of that number.
    """
    if request.mode not in _MODES:
        raise InvalidInput(f"change mode {request.mode} is unknown: choose OFFSET, PIXEL or DENSITY")
    return _MODES[request.mode]


def checked(request: Request) -> None:
    """Refuse what names neither a model nor a classical method with its target; raises as `normalizer`."""
    if isinstance(request, pb.NormalizeRequest) and not request.images:
        raise EmptyInput("normalize got no images: send at least one")
    if request.HasField("model"):
        if request.HasField("target"):
            raise InvalidInput("normalize got a model and a target: send the model, or the target with a method to fit to it")
        if request.model.kind != model_file.KIND:
            raise InvalidModel(f"normalize needs a model of kind 'colornorm'; this one has kind '{request.model.kind[:40]}'")
        return
    if request.method == pb.NORMALIZATION_METHOD_COLORNORMNET:
        raise InvalidModel("normalize by ColorNormNet needs a model: send the one that ColorNormService.Train returned")
    method_of(request.method)
    if not request.HasField("target"):
        raise InvalidInput("normalize needs a target: send the image whose colours the others shall get, or a fitted model")


def method_of(code: int) -> Method:
    """The classical method of a number.

    Raises:
        InvalidInput: there is none.
    """
    name = next((name for name, each in _CODES.items() if each == code), None)
    if name is None:
        raise InvalidInput(f"normalize: method {code} is unknown: choose {', '.join(_CODES).upper()}, or send a model")
    return METHODS[name]


def normalizer(request: Request, blobs: Blobs, device: torch.device) -> Normalizer:
    """What a request names: a model, or a method fitted to its target.

    Raises:
        InvalidModel: the model is damaged or of another kind.
        InvalidImage: the target has no stain to take over.
    """
    checked(request)
    if request.HasField("model"):
        files = {name: blobs.get(blob) for name, blob in request.model.files.items()}
        return model_file.unpack(ModelBytes(card=blobs.get(request.model.card), files=files), device)
    return fitted(method_of(request.method), request.target, blobs)


def fitted(method: Method, target: common_pb2.Image, blobs: Blobs) -> Fitted:
    """A method fitted to a target; raises as `normalizer`."""
    name = f"target '{target.id}'"
    return Fitted.to(method, decode_image(blobs.content(target), name), name)


def stored(model: ModelBytes, blobs: Blobs) -> common_pb2.Model:
    """Stores a model and names it."""
    types = {
        model_file.WEIGHTS_FILE: "application/vnd.safetensors",
        model_file.ONNX_FILE: "application/vnd.onnx",
        model_file.TARGET_FILE: "application/json",
    }
    files = {name: blobs.put(data, types[name]) for name, data in model.files.items()}
    return common_pb2.Model(kind=model_file.KIND, card=blobs.put(model.card, "application/json"), files=files)


def normalized(image: common_pb2.Image, by: Normalizer, blobs: Blobs) -> pb.NormalizedImage:
    """An image normalized, inline if it came so and fits, or as it was with the reason."""
    result = normalize(by, decode_image(blobs.content(image), f"image '{image.id}'"))
    if result.status != NORMALIZED:
        return pb.NormalizedImage(image=image, status=result.status)
    data = encode_png(result.image)
    if image.inline and len(data) <= MAX_INLINE:
        return pb.NormalizedImage(image=common_pb2.Image(id=image.id, inline=data), status=NORMALIZED)
    blob = blobs.put(data, "image/png", dtype="uint8", shape=result.image.shape)
    return pb.NormalizedImage(image=common_pb2.Image(id=image.id, data=blob), status=NORMALIZED)


@contextlib.contextmanager
def slide_file(slide: common_pb2.Image, blobs: Blobs) -> Iterator[tuple[Slide, Path]]:
    """A slide on disk, and where the normalized one may be written; both go when the block ends.

    Raises:
        InvalidImage: it cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="nucleate-slide-") as folder:
        path = Path(folder, "slide")
        blobs.get_file(slide.data, path)
        with contextlib.closing(Slide(path, f"slide '{slide.id}'")) as opened:
            yield opened, Path(folder, "normalized.tif")


def picture(rgb_HW3: NDArray[np.uint8], blobs: Blobs) -> common_pb2.Blob:
    """Stores a picture."""
    return blobs.put(encode_png(rgb_HW3), "image/png", dtype="uint8", shape=rgb_HW3.shape)

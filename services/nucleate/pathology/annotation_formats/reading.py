"""Two annotations of one image, whatever their formats, as instance maps of one size."""

from __future__ import annotations

import json

from nucleate.errors import InvalidMask, TooLarge
from nucleate.pathology.annotation_formats import geojson_reader, hovernet_json, imagescope_xml, npy_files
from nucleate.pathology.annotation_formats.labels import Labels
from nucleate.pathology.annotation_formats.polygons import Polygons, rasterise
from nucleate.pathology.images import raster_files

_MAX_TEXT_BYTES = 256 << 20
_FORMATS = "a 16-bit grey PNG, a label TIFF, .npy, ImageScope XML, QuPath GeoJSON or HoVer-Net JSON"


def read(data: bytes, name: str) -> Labels | Polygons:
    """Read an annotation; the format is found from the bytes.

    Raises:
        InvalidMask: another format, damaged, colour, float or negative labels, vertices that are none.
        TooLarge: over 100 megapixels or 256 MiB of text.
    """
    start = data[:64].lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n\0")
    if data.startswith(npy_files.MAGIC):
        return npy_files.parse(data, name)
    if data.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        raise InvalidMask(f"{name} is a ZIP archive (.npz?): give one array as .npy, or unpack it")
    if start[:1] not in (b"<", b"{", b"["):
        return _raster(data, name)
    if len(data) > _MAX_TEXT_BYTES:
        raise TooLarge(f"{name} has {len(data) >> 20} MiB, over {_MAX_TEXT_BYTES >> 20}: cut it into regions")
    return imagescope_xml.parse(data, name) if start[:1] == b"<" else _json(data, name)


def _json(data: bytes, name: str) -> Polygons:
    try:
        document = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as cause:
        raise InvalidMask(f"{name} is no UTF-8 JSON ({type(cause).__name__}): export it again") from None
    if isinstance(document, dict) and isinstance(document.get("nuc"), dict):
        return hovernet_json.parse(document["nuc"], name)
    features = geojson_reader.features_of(document)
    if features is None:
        raise InvalidMask(f"{name} is neither GeoJSON features nor HoVer-Net's nuclei: export objects as GeoJSON")
    return geojson_reader.parse(features, name)


def _raster(data: bytes, name: str) -> Labels:
    pixels = raster_files.read(data, name, InvalidMask, labels=True)
    if pixels.ndim != 2:
        raise InvalidMask(f"{name} has pixels of shape {pixels.shape}: give {_FORMATS}")
    return npy_files.labels_from_array(pixels, name)


def read_pair(predicted: bytes, truth: bytes, image: str) -> tuple[Labels, Labels]:
    """Predicted and true labels of an image. Polygons take the other's size; two sets of polygons the size that holds both.

    Raises:
        InvalidMask, TooLarge: see `read`; the message names the image and the side.
    """
    names = f"predicted map of '{image}'", f"true map of '{image}'"
    predicted_labels, true_labels = read(predicted, names[0]), read(truth, names[1])
    shape = _common_shape(predicted_labels, true_labels)
    raster_files.check_size(shape[1], shape[0], f"image '{image}'", InvalidMask, labels=True)
    first, second = (
        each if isinstance(each, Labels) else rasterise(each, shape, name)
        for each, name in zip((predicted_labels, true_labels), names, strict=True)
    )
    return first, second


def _common_shape(predicted: Labels | Polygons, true: Labels | Polygons) -> tuple[int, int]:
    for each in (true, predicted):
        if isinstance(each, Labels):
            height, width = each.instances.shape
            return height, width
    assert isinstance(predicted, Polygons)
    assert isinstance(true, Polygons)
    return max(predicted.size[0], true.size[0]), max(predicted.size[1], true.size[1])

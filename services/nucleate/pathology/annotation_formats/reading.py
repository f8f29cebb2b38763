"""Two annotations of one image, whatever their formats, as instance maps of one size."""

from __future__ import annotations

from nucleate.errors import InvalidMask, TooLarge
from nucleate.pathology.annotation_formats import imagescope_xml, json_documents, npy_files
from nucleate.pathology.annotation_formats.labels import Labels
from nucleate.pathology.annotation_formats.polygons import Outlines, rasterise
from nucleate.pathology.images import raster_files

_MOST_TEXT = 256 << 20
_FORMATS = "a 16-bit grey PNG, a label TIFF, .npy, ImageScope XML, QuPath GeoJSON or HoVer-Net JSON"


def read(data: bytes, name: str) -> Labels | Outlines:
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
    if len(data) > _MOST_TEXT:
        raise TooLarge(f"{name} has {len(data) >> 20} MiB, over {_MOST_TEXT >> 20}: cut it into regions")
    return imagescope_xml.parse(data, name) if start[:1] == b"<" else json_documents.parse(data, name)


def _raster(data: bytes, name: str) -> Labels:
    pixels = raster_files.read(data, name, InvalidMask, labels=True)
    if pixels.ndim != 2:
        raise InvalidMask(f"{name} has pixels of shape {pixels.shape}: give {_FORMATS}")
    return npy_files.compact(pixels, name)


def read_pair(predicted: bytes, truth: bytes, image: str) -> tuple[Labels, Labels]:
    """Predicted and true labels of an image. Outlines take the other's size; two sets of outlines the size that holds both.

    Raises:
        InvalidMask, TooLarge: see `read`; the message names the image and the side.
    """
    names = f"predicted map of '{image}'", f"true map of '{image}'"
    ours, true = read(predicted, names[0]), read(truth, names[1])
    shape = _shape(ours, true)
    raster_files.check_size(shape[1], shape[0], f"image '{image}'", InvalidMask, labels=True)
    first, second = (
        each if isinstance(each, Labels) else rasterise(each, shape, name)
        for each, name in zip((ours, true), names, strict=True)
    )
    return first, second


def _shape(ours: Labels | Outlines, true: Labels | Outlines) -> tuple[int, int]:
    for each in (true, ours):
        if isinstance(each, Labels):
            height, width = each.instances.shape
            return height, width
    assert isinstance(ours, Outlines)
    assert isinstance(true, Outlines)
    return max(ours.size[0], true.size[0]), max(ours.size[1], true.size[1])

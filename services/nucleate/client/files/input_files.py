"""Files of the user: folders of images and masks, checked before anything is uploaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nucleate.client.files.image_files import JPEG, PNG, TIFF, WEBP, image_size, media_type
from nucleate.errors import EmptyInput, InvalidImage, InvalidInput, InvalidMask, SizeMismatch

SUFFIXES = {".png": PNG, ".tif": TIFF, ".tiff": TIFF, ".jpg": JPEG, ".jpeg": JPEG, ".webp": WEBP}
SLIDE_SUFFIXES = {".svs", ".ndpi", ".scn"}
MASK_SUFFIXES = {suffix: kind for suffix, kind in SUFFIXES.items() if kind in {PNG, TIFF}}
# Their content is for the service to judge; the command line reads no polygons.
ANNOTATION_SUFFIXES = MASK_SUFFIXES | {
    ".npy": "application/x-npy",
    ".xml": "application/xml",
    ".geojson": "application/geo+json",
    ".json": "application/json",
}
FORMATS, MASK_FORMATS = "PNG, TIFF, JPEG or WebP", "PNG or TIFF"
ANNOTATION_FORMATS = "PNG, TIFF, .npy, ImageScope .xml, QuPath .geojson or HoVer-Net .json"


@dataclass(frozen=True)
class SourceFile:
    """One image or mask of the user's. `id` is the file's stem; `size` is (width, height) where the header has it."""

    id: str
    path: Path
    data: bytes
    media_type: str
    size: tuple[int, int] | None


Pair = tuple[SourceFile, SourceFile]


def images_in(source: Path, what: str = "IMAGES") -> list[SourceFile]:
    """Read every image of a folder, sorted by id, or the one file that `source` is.

    Raises:
        EmptyInput: no such folder or file, or no image in it.
        InvalidImage: an empty file, one that is not the image its name says, or two of the same stem.
    """
    return _read_all(source, what, SUFFIXES, FORMATS, InvalidImage)


def one_image(source: Path, what: str) -> SourceFile:
    """Read the one image that `source` names or holds; errors as `images_in`, and InvalidInput for several."""
    files = images_in(source, what)
    if len(files) != 1:
        raise InvalidInput(f"{what} {source} holds {len(files)} images: give one image")
    return files[0]


def slides_in(source: Path, *, all_tiffs: bool = False) -> list[Path]:
    """Whole slides of a folder, or the one file; with `all_tiffs` TIFFs are slides, too. Files are not read: they are large.

    Raises:
        InvalidImage: slides and images are mixed.
    """
    suffixes = SLIDE_SUFFIXES | ({".tif", ".tiff"} if all_tiffs else set())
    entries = sorted(source.iterdir()) if source.is_dir() else [source]
    files = [path for path in entries if path.is_file() and not path.name.startswith(".")]
    slides = [path for path in files if path.suffix.lower() in suffixes]
    other = next((path for path in files if path.suffix.lower() in SUFFIXES.keys() - suffixes), None)
    if slides and other:
        raise InvalidImage(
            f"{source} has slides ({slides[0].name}) and images ({other.name}): put them in folders of their own"
        )
    return slides


def masks_in(source: Path, what: str) -> list[SourceFile]:
    """Read every instance mask of a folder, or the one file; errors as `images_in`, with InvalidMask for bad files."""
    return _read_all(source, what, MASK_SUFFIXES, MASK_FORMATS, InvalidMask)


def annotations_in(source: Path, what: str) -> list[SourceFile]:
    """Read every instance map or outline file of a folder, or the one file; errors as `masks_in`."""
    return _read_all(source, what, ANNOTATION_SUFFIXES, ANNOTATION_FORMATS, InvalidMask)


def paired(images: Sequence[SourceFile], masks: Sequence[SourceFile], masks_source: Path) -> list[Pair]:
    """Give each image the mask of the same stem; masks of other images are left out.

    Raises:
        InvalidMask: an image without a mask.
        SizeMismatch: the headers tell different sizes.
    """
    by_id = {mask.id: mask for mask in masks}
    missing = next((image for image in images if image.id not in by_id), None)
    if missing:
        raise InvalidMask(f"no mask for image '{missing.path.name}' in {masks_source}: add {missing.id}.png")
    return [_same_size(image, by_id[image.id]) for image in images]


def maps_paired(predicted: Sequence[SourceFile], truth: Sequence[SourceFile]) -> list[Pair]:
    """Give each predicted instance map the true one of its stem; two single files need no common name.

    Raises:
        InvalidMask: one has no counterpart: leaving an image out would flatter the mean.
        SizeMismatch: the headers tell different sizes.
    """
    if len(predicted) == len(truth) == 1:
        return [_same_size(predicted[0], truth[0])]
    by_id, ids = {mask.id: mask for mask in truth}, {mask.id for mask in predicted}
    unpaired = next((mask for mask in (*predicted, *truth) if mask.id not in ids & by_id.keys()), None)
    if unpaired:
        raise InvalidMask(f"{unpaired.path} has no counterpart of the same name: PRED and TRUE need the same images")
    return [_same_size(mask, by_id[mask.id]) for mask in predicted]


def _same_size(file: SourceFile, mask: SourceFile) -> Pair:
    if file.size and mask.size and file.size != mask.size:
        (wide, high), (other_wide, other_high) = mask.size, file.size
        raise SizeMismatch(f"{mask.path} is {wide}x{high} but {file.path} is {other_wide}x{other_high}: make their sizes equal")
    return file, mask


def _read_all(source: Path, what: str, suffixes: dict[str, str], formats: str, error: type[InvalidInput]) -> list[SourceFile]:
    files = [_read(path, suffixes[path.suffix.lower()], error) for path in _paths(source, what, suffixes, formats)]
    seen: dict[str, Path] = {}
    for file in files:
        if file.id in seen:
            raise error(f"{source} has two files named '{file.id}' ({seen[file.id].name}, {file.path.name}): rename one")
        seen[file.id] = file.path
    return sorted(files, key=lambda file: file.id)


def _paths(source: Path, what: str, suffixes: dict[str, str], formats: str) -> list[Path]:
    try:
        if source.is_file():
            if source.suffix.lower() not in suffixes:
                raise InvalidInput(f"{what} {source} is not named as an image: use {formats}")
            return [source]
        if not source.is_dir():
            raise EmptyInput(f"{what} {source} does not exist: give a folder of {formats} files, or one file")
        entries = [path for path in source.iterdir() if path.is_file() and not path.name.startswith(".")]
    except OSError as failure:
        raise InvalidInput(f"{what} {source} cannot be read ({failure.strerror}): check its permissions") from None
    found = [path for path in entries if path.suffix.lower() in suffixes]
    if not found:
        state = f"has no {formats} file" if entries else "is an empty folder"
        raise EmptyInput(f"{what} {source} {state}: put images in it")
    return found


def _read(path: Path, expected: str, error: type[InvalidInput]) -> SourceFile:
    try:
        data = path.read_bytes()
    except OSError as failure:
        raise error(f"{path} cannot be read ({failure.strerror}): check its permissions") from None
    if not data:
        raise error(f"{path} is an empty file (0 bytes): copy it again or remove it")
    kind = media_type(data) if expected in SUFFIXES.values() else expected
    if kind is None:
        raise error(f"{path} is not {expected.removeprefix('image/').upper()} data: it is damaged or misnamed; export it again")
    # The services go by the bytes, so a PNG named .jpg is taken for what it is.
    return SourceFile(path.stem, path, data, kind, image_size(data))

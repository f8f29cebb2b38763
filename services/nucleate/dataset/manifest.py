"""The manifest of a training set: which image goes with which instance map, where each came from, and its part of the split.

Pure standard library, so that the client and the orchestrator can read it. The JSON is canonical: sorted samples, sorted
keys, no spaces; the same content always gives the same bytes and the same digest, whatever order it was put together in.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import cached_property
from itertools import pairwise
from typing import Literal

from nucleate.dataset.json_fields import Fields
from nucleate.errors import Fenced, InvalidDataset

FORMAT = "nucleate-dataset/1"
MAX_CLASSES = 250
#: Keys of ground truth in the object store.
SEALED = "sealed/"

Split = Literal["train", "val"]
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Origin(StrEnum):
    """Where a sample's labels come from; none of them is ground truth."""

    SYNTHETIC = "synthetic"
    REFINED = "refined"
    PSEUDO = "pseudo"
    ACCEPTED = "accepted"


@dataclass(frozen=True, slots=True)
class BlobRef:
    """A content-addressed object in the store: `nucleate.v1.Blob` without the protocol."""

    uri: str
    sha256: str
    size: int
    media_type: str

    def __post_init__(self) -> None:
        if not (self.uri and self.uri.isprintable() and self.media_type.isprintable()):
            raise InvalidDataset(
                f"blob uri {self.uri[:80]!r}, media type {self.media_type[:80]!r}: use printable text, store the data first"
            )
        if not _SHA256.fullmatch(self.sha256):
            raise InvalidDataset(f"blob {self.uri} has sha256 '{self.sha256[:80]}': give 64 lower-case hex digits")
        if not 0 < self.size < 1 << 63:
            raise InvalidDataset(f"blob {self.uri} has size {self.size}: an image or a map has at least one byte")

    @classmethod
    def parse(cls, fields: Fields) -> BlobRef:
        """Read from manifest JSON."""
        return cls(
            uri=fields.text("uri"),
            sha256=fields.text("sha256"),
            size=fields.integer("size"),
            media_type=fields.text("media_type"),
        )


@dataclass(frozen=True, slots=True)
class Sample:
    """One training image with its instance map.

    `ignore` marks pixels that no loss may count (8-bit PNG mask); `weight` >= 0 scales the sample's loss. `types` is a map of
    classes (8-bit PNG): k is the k-th of the data set's, 0 in a nucleus says that nobody knows.
    """

    id: str
    image: BlobRef
    instances: BlobRef
    ignore: BlobRef | None
    origin: Origin
    split: Split
    weight: float = 1.0
    types: BlobRef | None = None

    def __post_init__(self) -> None:
        if not (0 < len(self.id) <= 200 and self.id.isprintable()):
            raise InvalidDataset(f"sample id {self.id[:80]!r}: use 1 to 200 printable characters")
        if self.split not in ("train", "val"):
            raise InvalidDataset(f"sample {self.id} has split '{self.split}': use train or val")
        if not (math.isfinite(self.weight) and self.weight >= 0):
            raise InvalidDataset(f"sample {self.id} has weight {self.weight}: use a finite number >= 0")
        if self.origin not in list(Origin):
            raise InvalidDataset(f"sample {self.id} has origin '{self.origin}': use one of {', '.join(Origin)}")
        if any(blob is not None and blob.uri.startswith(SEALED) for blob in self.blobs):
            raise Fenced(f"sample {self.id} refers to sealed ground truth, which no training set may hold")
        # One spelling per content, so that equal samples have equal digests.
        object.__setattr__(self, "weight", float(self.weight))
        object.__setattr__(self, "origin", Origin(self.origin))

    @property
    def blobs(self) -> tuple[BlobRef | None, ...]:
        """All that it refers to."""
        return self.image, self.instances, self.ignore, self.types

    @classmethod
    def parse(cls, fields: Fields) -> Sample:
        """Read from manifest JSON."""
        ignore, types = fields.optional_group("ignore"), fields.optional_group("types")
        return cls(
            id=fields.text("id"),
            image=BlobRef.parse(fields.group("image")),
            instances=BlobRef.parse(fields.group("instances")),
            ignore=None if ignore is None else BlobRef.parse(ignore),
            origin=Origin(fields.choice("origin", [origin.value for origin in Origin])),
            split="train" if fields.choice("split", ["train", "val"]) == "train" else "val",
            weight=fields.number("weight"),
            types=None if types is None else BlobRef.parse(types),
        )


@dataclass(frozen=True)
class Dataset:
    """A training set. Sample ids are unique; samples are kept in the order of their ids.

    `classes` names the classes of nuclei, 1..C in this order in the samples' maps of types; empty: nuclei have no classes.
    """

    samples: tuple[Sample, ...]
    classes: tuple[str, ...]

    def __init__(self, samples: Iterable[Sample], classes: Sequence[str] = ()) -> None:
        ordered = tuple(sorted(samples, key=lambda sample: sample.id))
        for first, second in pairwise(ordered):
            if first.id == second.id:
                raise InvalidDataset(f"sample id {first.id} occurs twice: give every sample its own id")
        _check_classes(classes, ordered)
        object.__setattr__(self, "samples", ordered)
        object.__setattr__(self, "classes", tuple(classes))

    def part(self, split: Split) -> tuple[Sample, ...]:
        """The samples of one side of the split."""
        return tuple(sample for sample in self.samples if sample.split == split)

    def to_json(self) -> bytes:
        """Canonical JSON, UTF-8."""
        document = {"format": FORMAT, "classes": self.classes, "samples": [asdict(sample) for sample in self.samples]}
        text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        return text.encode()

    @cached_property
    def digest(self) -> str:
        """Hex SHA-256 of the canonical JSON."""
        return hashlib.sha256(self.to_json()).hexdigest()

    @classmethod
    def from_json(cls, data: bytes) -> Dataset:
        """Read a manifest, or raise `InvalidDataset` that names the field at fault."""
        fields = Fields.read(data, "dataset manifest")
        found = fields.text("format")
        if found != FORMAT:
            raise InvalidDataset(f"dataset manifest: format is '{found[:80]}': this version reads {FORMAT}")
        return cls((Sample.parse(sample) for sample in fields.groups("samples")), fields.texts("classes"))


def _check_classes(classes: Sequence[str], samples: Sequence[Sample]) -> None:
    if len(classes) > MAX_CLASSES or len(set(classes)) != len(classes):
        raise InvalidDataset(f"{len(classes)} classes: give up to {MAX_CLASSES}, each once")
    for name in classes:
        if not (0 < len(name) <= 80 and name.isprintable()):
            raise InvalidDataset(f"class {name[:80]!r}: use 1 to 80 printable characters")
    typed = next((sample for sample in samples if sample.types is not None), None)
    if typed is not None and not classes:
        raise InvalidDataset(f"sample {typed.id} has a map of types but the data set names no classes: name them")


def split_80_20(ids: Sequence[str], seed: int) -> dict[str, Split]:
    """Assign each id to 'train' (80 %) or 'val' (20 %, at least one of two or more), the same for the same set and seed.

    The order of `ids` does not matter. Raises `InvalidDataset` for duplicate ids.
    """
    ordered = sorted(ids)
    if len(set(ordered)) != len(ordered):
        raise InvalidDataset("ids to split occur twice: give every sample its own id")
    random.Random(seed).shuffle(ordered)
    held_out = max(round(0.2 * len(ordered)), 1) if len(ordered) > 1 else 0
    return {name: "val" if position < held_out else "train" for position, name in enumerate(ordered)}

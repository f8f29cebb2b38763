"""What the calls of a session return."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from nucleate.client.interactive.masks import Box, LabelMap, Mask
from nucleate.v1 import common_pb2
from nucleate.v1 import interactive_pb2 as pb


class Click(NamedTuple):
    """A click in image pixels: on the nucleus, or, if not positive, beside it."""

    x: int
    y: int
    positive: bool = True


class Spent(NamedTuple):
    """Where the milliseconds of a click went."""

    waiting: float
    encoding: float
    refining: float
    finishing: float
    storing: float


class Probability(NamedTuple):
    """Nucleus probability in a box of the image: row-major bytes, 0..255 for 0..1."""

    box: Box
    values: bytes


@dataclass(frozen=True)
class Prediction(Mask):
    """The mask after a click.

    `honoured` says of every click of the object, oldest first, whether the mask has its pixel on the side it asks for;
    `honoured_by_network` says it of the probability alone, before disobeyed pixels were set. `confidence` is the mean
    probability inside the mask, 0..1; `milliseconds` is the service's own time.
    """

    object_id: int
    confidence: float
    clicks_obeyed: bool
    honoured: tuple[bool, ...]
    honoured_by_network: tuple[bool, ...]
    optimizer_evaluations: int
    milliseconds: float
    spent: Spent
    probability: Probability | None

    @classmethod
    def read(cls, answer: pb.ClickResponse, window: Box) -> Prediction:
        """Read the protocol's message."""
        mask, spent, seen = Mask.of(answer.mask, window), answer.spent, answer.probability
        box = Box(seen.box.x, seen.box.y, seen.box.width, seen.box.height)
        return cls(
            mask.box,
            mask.runs,
            window,
            answer.object_id,
            answer.confidence,
            answer.clicks_obeyed,
            tuple(answer.honoured),
            tuple(answer.honoured_by_network),
            answer.optimizer_evaluations,
            answer.milliseconds,
            Spent(spent.waiting, spent.encoding, spent.refining, spent.finishing, spent.storing),
            Probability(box, seen.values) if answer.HasField("probability") else None,
        )


@dataclass(frozen=True)
class Nucleus:
    """An object of a session; `clicks` were spent on it, none on an untouched proposal."""

    id: int
    mask: Mask
    clicks: int


@dataclass(frozen=True)
class ClickedNucleus:
    """What came of one of many clicks: an object, or `refused` says why there is none (`id` is 0 and `mask` None)."""

    id: int
    mask: Mask | None
    confidence: float
    refused: str

    @classmethod
    def read(cls, message: pb.ClickedObject, window: Box) -> ClickedNucleus:
        """Read the protocol's message."""
        mask = Mask.of(message.mask, window) if message.object_id else None
        return cls(message.object_id, mask, message.confidence, message.refused)


@dataclass(frozen=True)
class SessionResult:
    """What a closed session gives: the instance map of its window, what it cost, and where the service has stored it.

    `seconds` is the wall time from open to close; `stored` names the window's pixels and the map in the object store.
    """

    instances: LabelMap
    clicks: int
    nuclei: int
    seconds: float
    stored: common_pb2.LabelledImage


@dataclass(frozen=True)
class StoredImage:
    """An image in the service's store; `reference` can be opened again and again without sending the pixels."""

    reference: common_pb2.Image
    width: int
    height: int

    @classmethod
    def read(cls, answer: pb.PutImageResponse) -> StoredImage:
        """Read the protocol's message."""
        return cls(answer.image, answer.width, answer.height)

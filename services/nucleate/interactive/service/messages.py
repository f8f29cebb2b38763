"""Between protocol messages and the service's own values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from google.protobuf import json_format

from nucleate import errors
from nucleate.dataset.manifest import BlobRef
from nucleate.interactive.clicks import Click
from nucleate.interactive.refinement import Method, RefinementOptions
from nucleate.interactive.sessions.calls import ClickResult
from nucleate.interactive.sessions.event_log import Event
from nucleate.interactive.sessions.event_payloads import mask_to_json, probability_values
from nucleate.interactive.sessions.objects import AcceptedObject
from nucleate.interactive.sessions.session import Session
from nucleate.runtime.blobs import Blobs
from nucleate.v1 import common_pb2
from nucleate.v1 import interactive_pb2 as pb

MAX_EVALUATIONS = 200
_METHOD = "REFINEMENT_METHOD_"


def message_text(message: Any) -> str:
    """A message as one line that is the same for the same message."""
    return json_format.MessageToJson(message, indent=None, sort_keys=True)


def clicks_from_messages(placed: Sequence[pb.PlacedClick]) -> list[Click]:
    """Clicks in order."""
    return [Click(each.x, each.y, each.positive) for each in placed]


def window_message(x: int, y: int, width: int, height: int) -> common_pb2.Window:
    """A box."""
    return common_pb2.Window(x=x, y=y, width=width, height=height)


def mask_message(found: Mapping[str, Any]) -> pb.Mask:
    """A mask."""
    return pb.Mask(box=window_message(found["x"], found["y"], found["width"], found["height"]), runs=found["runs"])


def mask_or_none(found: Mapping[str, Any] | None) -> pb.Mask | None:
    """A mask; unset without pixels."""
    return mask_message(found) if found and found["runs"] else None


def click_message(clicked: ClickResult) -> pb.ClickResponse:
    """What came of a click."""
    found = clicked.outcome
    return pb.ClickResponse(
        object_id=found["object_id"],
        mask=mask_message(found["mask"]),
        confidence=found["confidence"],
        clicks_obeyed=found["clicks_obeyed"],
        optimizer_evaluations=found["evaluations"],
        milliseconds=found["milliseconds"] + clicked.storing,
        sequence=clicked.sequence,
        honoured=found.get("honoured"),
        honoured_by_network=found.get("honoured_by_network"),
        spent=pb.Spent(**found.get("spent", {}), storing=clicked.storing),
        probability=_probability(found.get("probability")),
    )


def _probability(found: Mapping[str, Any] | None) -> pb.Probability | None:
    if found is None:
        return None
    box = window_message(found["x"], found["y"], found["width"], found["height"])
    return pb.Probability(box=box, values=probability_values(found))


def clicked_object(found: Mapping[str, Any]) -> pb.ClickedObject:
    """One of a batch."""
    if not found["object_id"]:
        return pb.ClickedObject(refused=found["refused"])
    return pb.ClickedObject(object_id=found["object_id"], mask=mask_message(found["mask"]), confidence=found["confidence"])


def object_message(found: Mapping[str, Any]) -> pb.SessionObject:
    """A finished object."""
    return pb.SessionObject(object_id=found["object_id"], mask=mask_message(found["mask"]), clicks=found["clicks"])


def change_message(event: Event) -> pb.Change:
    """What an undo or a redo did."""
    # Logs of services that undid clicks only have the mask alone.
    found = event.outcome.get("change") or {"mask": event.outcome["mask"]}
    return pb.Change(
        object_id=found.get("object_id", 0),
        mask=mask_or_none(found["mask"]),
        clicks=[pb.PlacedClick(**click) for click in found.get("clicks", ())],
        changed=[object_message(each) for each in found.get("changed", ())],
        removed=found.get("removed", ()),
    )


def session_message(session: Session) -> pb.Session:
    """The session as it stands; the active object is among the objects, with its mask so far."""
    with session.lock:
        state, w = session.state, session.state.window
        shown = dict(state.objects)
        if state.active:
            shown[state.active.object_id] = AcceptedObject(state.active.mask, state.active.clicks)
        steps = state.active.steps if state.active else ()
        return pb.Session(
            session_id=session.log.session_id,
            window=window_message(w.x, w.y, w.width, w.height),
            objects=[
                pb.SessionObject(object_id=i, mask=mask_message(mask_to_json(found.mask)), clicks=found.clicks)
                for i, found in sorted(shown.items())
            ],
            object_id=state.active.object_id if state.active else 0,
            clicks=[pb.PlacedClick(x=s.click.x, y=s.click.y, positive=s.click.positive) for s in steps],
            sequence=state.sequence,
            closed=state.closing is not None,
        )


def refinement_message(asked: pb.Refinement, defaults: RefinementOptions) -> pb.Refinement:
    """What was asked for, with defaults where nothing was.

    Raises:
        errors.InvalidInput: a method that this service does not know, or too many evaluations.
    """
    if asked.method not in pb.RefinementMethod.values():
        raise errors.InvalidInput(f"refinement method {asked.method} is unknown here: choose one of the protocol's")
    if asked.most_evaluations > MAX_EVALUATIONS:
        raise errors.InvalidInput(f"{asked.most_evaluations} evaluations per click: at most {MAX_EVALUATIONS} are made")
    method = asked.method or pb.RefinementMethod.Value(_METHOD + defaults.method.name)
    evaluations = asked.most_evaluations or defaults.most_evaluations
    return pb.Refinement(method=pb.RefinementMethod.Name(method), most_evaluations=evaluations, spend_all=asked.spend_all)


def refinement_options(resolved: pb.Refinement, defaults: RefinementOptions) -> RefinementOptions:
    """Options of a resolved refinement; a log without one was written when there were only the defaults."""
    if not resolved.method:
        return defaults
    method = Method[pb.RefinementMethod.Name(resolved.method).removeprefix(_METHOD)]
    return RefinementOptions(method=method, most_evaluations=resolved.most_evaluations, early_stop=not resolved.spend_all)


def blob_reader(blobs: Blobs, ref: BlobRef) -> bytes:
    """Bytes of a blob that a data set names."""
    return blobs.get(common_pb2.Blob(uri=ref.uri, sha256=ref.sha256, size=ref.size, media_type=ref.media_type))


def file_readers(blobs: Blobs, model: common_pb2.Model) -> dict[str, Any]:
    """A function for each of a model's files that reads it."""
    return {name: partial(blobs.get, blob) for name, blob in model.files.items()}

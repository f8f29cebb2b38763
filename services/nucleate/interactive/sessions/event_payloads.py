"""The outcomes of calls, as the plain values that a session's log keeps."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nucleate.interactive.clicks import Click
from nucleate.interactive.object_mask import ObjectMask
from nucleate.interactive.prediction.result import Prediction
from nucleate.interactive.prediction.zoom_in import Frame
from nucleate.interactive.sessions.objects import AcceptedObject, ActiveObject, Box, ClickStep
from nucleate.interactive.sessions.undo_history import Transition


def mask_to_json(mask: ObjectMask) -> dict[str, Any]:
    """Box and runs."""
    height, width = mask.bits.shape
    return {"x": mask.x, "y": mask.y, "width": width, "height": height, "runs": mask.runs()}


def click_payload(object_id: int, prediction: Prediction, milliseconds: float, waiting: float) -> dict[str, Any]:
    """Outcome of a click; `milliseconds` are of all of it but for storing, `waiting` those before the work began."""
    frame = prediction.frame
    return {
        "object_id": object_id,
        "mask": mask_to_json(prediction.mask),
        "confidence": prediction.confidence,
        "clicks_obeyed": prediction.clicks_obeyed,
        "honoured": list(prediction.honoured),
        "honoured_by_network": list(prediction.honoured_by_network),
        "evaluations": prediction.evaluations,
        "milliseconds": milliseconds,
        "spent": {"waiting": waiting, **asdict(prediction.times)},
        "delta": base64.b64encode(prediction.delta.astype("<f4").tobytes()).decode(),
        "frame": [frame.x, frame.y, frame.size],
    }


def probability_payload(frame: Frame, probability_HW: NDArray[np.float32], window: Box) -> dict[str, Any]:
    """The part of a frame inside the window, in 256 levels."""
    left, top = max(frame.x, window.x), max(frame.y, window.y)
    right = min(frame.x + frame.size, window.x + window.width)
    bottom = min(frame.y + frame.size, window.y + window.height)
    part_HW = probability_HW[top - frame.y : bottom - frame.y, left - frame.x : right - frame.x]
    levels = np.round(255 * part_HW).astype(np.uint8).tobytes()
    values = base64.b64encode(zlib.compress(levels)).decode()
    return {"x": left, "y": top, "width": right - left, "height": bottom - top, "values": values}


def probability_values(outcome: Mapping[str, Any]) -> bytes:
    """The levels of `probability_payload`, row by row."""
    return zlib.decompress(base64.b64decode(outcome["values"]))


def step_from_event(arguments: Mapping[str, Any], outcome: Mapping[str, Any]) -> ClickStep:
    """A click event read back."""
    delta = np.frombuffer(base64.b64decode(outcome["delta"]), "<f4").astype(np.float32)
    frame = Frame(*outcome["frame"]) if "frame" in outcome else None
    answer = {name: value for name, value in outcome.items() if name not in ("delta", "probability")}
    return ClickStep(Click(**arguments), ObjectMask.from_runs(**outcome["mask"]), delta, frame, answer)


def object_to_json(object_id: int, accepted: AcceptedObject) -> dict[str, Any]:
    """A finished object."""
    return {"object_id": object_id, "mask": mask_to_json(accepted.mask), "clicks": accepted.clicks}


def click_to_json(click: Click) -> dict[str, Any]:
    """A click."""
    return {"x": click.x, "y": click.y, "positive": click.positive}


def change_payload(transition: Transition, objects: Mapping[int, AcceptedObject]) -> dict[str, Any]:
    """What an undo or a redo does to a session that has these finished objects.

    Of an object that becomes active again it has the finished mask as well, or that it is finished no more.
    """
    active = transition.active_after
    changed, removed = [], []
    for object_id in sorted(transition.object_ids):
        if active and active.object_id == object_id and object_id not in transition.after:
            continue
        found = transition.after[object_id] if object_id in transition.after else objects.get(object_id)
        if found is None:
            removed.append(object_id)
        else:
            changed.append(object_to_json(object_id, found))
    return {
        "object_id": active.object_id if active else 0,
        "mask": mask_to_json(active.mask) if active else None,
        "clicks": _clicks(active),
        "changed": changed,
        "removed": removed,
    }


def _clicks(active: ActiveObject | None) -> Sequence[dict[str, Any]]:
    return [click_to_json(step.click) for step in active.steps] if active else []

"""The state of a session as the client knows it, and the calls that change it. Knows neither threads nor sockets."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from nucleate.client.interactive.masks import Box, LabelMap, Mask
from nucleate.client.interactive.results import Click, ClickedNucleus, Nucleus, Prediction, SessionResult
from nucleate.errors import Cancelled, InvalidInput, NucleateError, Unreachable
from nucleate.runtime.error_table import TABLE
from nucleate.v1 import common_pb2
from nucleate.v1 import interactive_pb2 as pb

T = TypeVar("T")
#: The largest coordinate and id that fits the protocol.
_MAX_UINT32 = 0xFFFFFFFF


@dataclass(frozen=True)
class Call(Generic[T]):
    """One call: the RPC's name, its field in the messages of `Interact`, its request, and what to make of the answer."""

    rpc: str
    field: str
    request: Any
    read: Callable[[Any], T]


class SessionState:
    """One session. A plan (`click`, `undo`, …) gives a `Call`; reading its answer updates the state."""

    def __init__(self, session: pb.Session) -> None:
        self.load(session)

    def load(self, session: pb.Session) -> None:
        """Take over what the service says of the session."""
        w = session.window
        self.session_id, self.sequence, self.closed = session.session_id, session.sequence, session.closed
        self.window = Box(w.x, w.y, w.width, w.height)
        self.clicks = tuple(Click(each.x, each.y, each.positive) for each in session.clicks)
        known = {each.object_id: self._nucleus(each) for each in session.objects}
        self.working = known.get(session.object_id)
        # How the object in work was before its clicks, or whether it was at all, is not told.
        self._origin_unknown = bool(self.working and self.clicks)
        self._earlier_clicks = self.working.clicks - len(self.clicks) if self.working else 0
        unsure = session.object_id if self._origin_unknown else 0
        self._finished = {number: each for number, each in known.items() if number != unsure}
        self._unanswered: Any = None

    @property
    def objects(self) -> dict[int, Nucleus]:
        """Objects by id, the one in work included."""
        known = self._finished | ({self.working.id: self.working} if self.working else {})
        return dict(sorted(known.items()))

    @property
    def must_reload(self) -> bool:
        """Whether clicks have been taken back from an object of which it is not known how it was before them."""
        return self._origin_unknown and not self.clicks

    def must_reload_before(self, call: Call[Any]) -> bool:
        """Whether an earlier call may have gone through without an answer, and `call` is not its repetition."""
        return self._unanswered is not None and self._unanswered != call.request

    def sent(self, call: Call[Any]) -> None:
        """Note a call that is about to be sent."""
        self._unanswered = call.request

    def refused(self, error: NucleateError) -> None:
        """Note how a call failed: an error that the service itself gives means that nothing was written."""
        if isinstance(error, tuple(TABLE)) and not isinstance(error, (Unreachable, Cancelled)):
            self._unanswered = None

    def answered(self, call: Call[T], answer: Any) -> T:
        """Take an answer in and return what it means."""
        result = call.read(answer)
        self._unanswered = None
        return result

    def click(self, x: int, y: int, *, positive: bool, probability: bool) -> Call[Prediction]:
        """Plan a click."""
        click = Click(x, y, positive)
        request = pb.ClickRequest(
            session_id=self.session_id, sequence=self.sequence, click=_placed(click), probability=probability
        )

        def read(answer: pb.ClickResponse) -> Prediction:
            prediction = Prediction.read(answer, self.window)
            if self.working is None:
                self._earlier_clicks = 0
            if answer.sequence != self.sequence:  # a click that is there already changes nothing
                self.clicks += (click,)
            mask = Mask(prediction.box, prediction.runs, self.window)
            self.working = Nucleus(answer.object_id, mask, self._earlier_clicks + len(self.clicks))
            self.sequence = answer.sequence
            return prediction

        return Call("Click", "click", request, read)

    def click_many(self, points: Iterable[tuple[int, int]]) -> Call[tuple[ClickedNucleus, ...]]:
        """Plan one click each on many nuclei."""
        placed = [_placed(Click(x, y)) for x, y in points]
        request = pb.ClickManyRequest(session_id=self.session_id, sequence=self.sequence, clicks=placed)

        def read(answer: pb.ClickManyResponse) -> tuple[ClickedNucleus, ...]:
            clicked = tuple(ClickedNucleus.read(each, self.window) for each in answer.objects)
            self._finished |= {each.id: Nucleus(each.id, each.mask, 1) for each in clicked if each.mask}
            self.sequence = answer.sequence
            return clicked

        return Call("ClickMany", "click_many", request, read)

    def propose(self, instances: common_pb2.Blob | None) -> Call[tuple[Nucleus, ...]]:
        """Plan proposals: of an instance map in the store, or of the classical segmentation."""
        request = pb.ProposeRequest(session_id=self.session_id, sequence=self.sequence)
        if instances is None:
            request.classical.SetInParent()
        else:
            request.instances.CopyFrom(instances)

        def read(answer: pb.ProposeResponse) -> tuple[Nucleus, ...]:
            proposed = tuple(self._nucleus(each) for each in answer.objects)
            self._finished |= {each.id: each for each in proposed}
            self.sequence = answer.sequence
            return proposed

        return Call("Propose", "propose", request, read)

    def undo(self) -> Call[Mask | None]:
        """Plan to take the last change back."""
        request = pb.UndoRequest(session_id=self.session_id, sequence=self.sequence)
        return Call("Undo", "undo", request, self._changed)

    def redo(self) -> Call[Mask | None]:
        """Plan to bring back what was taken back."""
        request = pb.RedoRequest(session_id=self.session_id, sequence=self.sequence)
        return Call("Redo", "redo", request, self._changed)

    def select(self, object_id: int) -> Call[Mask]:
        """Plan to take an object back into work."""
        request = pb.SelectObjectRequest(session_id=self.session_id, sequence=self.sequence, object_id=_uint32(object_id))

        def read(answer: pb.SelectObjectResponse) -> Mask:
            mask = Mask.of(answer.mask, self.window)
            before = self._finished.get(object_id)
            self._earlier_clicks = before.clicks if before else 0
            self.working, self.clicks, self.sequence = Nucleus(object_id, mask, self._earlier_clicks), (), answer.sequence
            return mask

        return Call("SelectObject", "select", request, read)

    def delete(self, object_id: int) -> Call[None]:
        """Plan to drop an object."""
        request = pb.DeleteObjectRequest(session_id=self.session_id, sequence=self.sequence, object_id=_uint32(object_id))

        def read(answer: pb.DeleteObjectResponse) -> None:
            self._finished.pop(object_id, None)
            if self.working and self.working.id == object_id:
                self._clear_active()
            self.sequence = answer.sequence

        return Call("DeleteObject", "delete", request, read)

    def accept(self) -> Call[int]:
        """Plan to finish the object in work."""
        request = pb.AcceptRequest(session_id=self.session_id, sequence=self.sequence)

        def read(answer: pb.AcceptResponse) -> int:
            if self.working:
                self._finished[answer.object_id] = self.working
            self._clear_active()
            self.sequence = answer.sequence
            return answer.object_id

        return Call("Accept", "accept", request, read)

    def result(self, answer: pb.CloseSessionResponse) -> SessionResult:
        """Make the result of a closed session, of which `load` has just been told."""
        instances = LabelMap.of((each.mask for each in self.objects.values()), self.window)
        return SessionResult(instances, answer.clicks, answer.nuclei, answer.seconds, answer.result)

    def _changed(self, answer: pb.UndoResponse | pb.RedoResponse) -> Mask | None:
        change = answer.change
        for number in change.removed:
            self._finished.pop(number, None)
        self._finished |= {each.object_id: self._nucleus(each) for each in change.changed}
        self.clicks = tuple(Click(each.x, each.y, each.positive) for each in change.clicks)
        self.sequence = answer.sequence
        if not change.object_id:
            self.working = None
            return None
        if self.working is None or self.working.id != change.object_id:
            before = self._finished.get(change.object_id)
            self._earlier_clicks = before.clicks if before else 0
        mask = Mask.of(change.mask, self.window)
        self.working = Nucleus(change.object_id, mask, self._earlier_clicks + len(self.clicks))
        return mask if mask.runs else None

    def _clear_active(self) -> None:
        self.working, self.clicks, self._origin_unknown = None, (), False

    def _nucleus(self, message: pb.SessionObject) -> Nucleus:
        return Nucleus(message.object_id, Mask.of(message.mask, self.window), message.clicks)


def _placed(click: Click) -> pb.PlacedClick:
    return pb.PlacedClick(x=_uint32(click.x), y=_uint32(click.y), positive=click.positive)


def _uint32(value: int) -> int:
    """Return a coordinate or an id as the protocol can carry it."""
    try:
        number = operator.index(value)
    except TypeError:
        raise InvalidInput(f"{value!r} is not a whole number: give pixels and ids as int") from None
    if not 0 <= number <= _MAX_UINT32:
        raise InvalidInput(f"{number} is out of range: pixels and ids are counted from 0")
    return number

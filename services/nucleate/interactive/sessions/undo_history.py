"""Undo and redo: what each call changed, kept as the few objects it touched, before and after."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from nucleate.interactive.sessions.objects import AcceptedObject, ActiveObject

MAX_UNDO = 100  # calls that can be taken back


@dataclass(frozen=True, eq=False)
class Transition:
    """One change of a session: finished objects by id (None = there is none) and the active object, before and after."""

    active_before: ActiveObject | None
    active_after: ActiveObject | None
    before: Mapping[int, AcceptedObject | None] = field(default_factory=dict)
    after: Mapping[int, AcceptedObject | None] = field(default_factory=dict)

    @property
    def has_effect(self) -> bool:
        """Whether anything is other than before; without an effect there is nothing to take back."""
        return bool(self.after) or self.active_before is not self.active_after

    def inverse(self) -> Transition:
        """The change that takes this one back."""
        return Transition(self.active_after, self.active_before, self.after, self.before)

    @property
    def object_ids(self) -> set[int]:
        """Ids of the objects that this changes, the active object before and after included."""
        return set(self.after) | {active.object_id for active in (self.active_before, self.active_after) if active}


class History:
    """The last `MAX_UNDO` changes, and those taken back since the last new one. Masks are shared with the session."""

    def __init__(self) -> None:
        self._done: deque[Transition] = deque(maxlen=MAX_UNDO)
        self._undone: list[Transition] = []

    def push(self, transition: Transition) -> None:
        """Note a new change; what was taken back before it cannot be brought back any more."""
        self._done.append(transition)
        self._undone.clear()

    @property
    def next_undo(self) -> Transition | None:
        """What an undo would do."""
        return self._done[-1].inverse() if self._done else None

    @property
    def next_redo(self) -> Transition | None:
        """What a redo would do."""
        return self._undone[-1] if self._undone else None

    def undo(self) -> Transition:
        """Take the last change back: the change that does so. There must be one."""
        self._undone.append(self._done.pop())
        return self._undone[-1].inverse()

    def redo(self) -> Transition:
        """Bring the last undone change back. There must be one."""
        self._done.append(self._undone.pop())
        return self._done[-1]

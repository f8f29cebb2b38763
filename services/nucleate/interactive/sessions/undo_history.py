"""Undo and redo: what each call changed, kept as the few objects it touched, before and after."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from nucleate.interactive.sessions.objects import Accepted, Work

DEPTH = 100  # calls that can be taken back


@dataclass(frozen=True, eq=False)
class Transition:
    """One change of a session: finished objects by id (None = there is none) and the object in work, before and after."""

    work_before: Work | None
    work_after: Work | None
    before: Mapping[int, Accepted | None] = field(default_factory=dict)
    after: Mapping[int, Accepted | None] = field(default_factory=dict)

    @property
    def changes(self) -> bool:
        """Whether anything is other than before; what is not cannot be taken back."""
        return bool(self.after) or self.work_before is not self.work_after

    def reversed(self) -> Transition:
        """The change that takes this one back."""
        return Transition(self.work_after, self.work_before, self.after, self.before)

    @property
    def touched(self) -> set[int]:
        """Ids of the objects that this changes, the object in work before and after included."""
        return set(self.after) | {work.object_id for work in (self.work_before, self.work_after) if work}


class History:
    """The last `DEPTH` changes, and those taken back since the last new one. Masks are shared with the session, not copied."""

    def __init__(self) -> None:
        self._done: deque[Transition] = deque(maxlen=DEPTH)
        self._undone: list[Transition] = []

    def add(self, transition: Transition) -> None:
        """Note a new change; what was taken back before it cannot be brought back any more."""
        self._done.append(transition)
        self._undone.clear()

    @property
    def last(self) -> Transition | None:
        """What an undo would do."""
        return self._done[-1].reversed() if self._done else None

    @property
    def next(self) -> Transition | None:
        """What a redo would do."""
        return self._undone[-1] if self._undone else None

    def back(self) -> Transition:
        """Take the last change back: the change that does so. There must be one."""
        self._undone.append(self._done.pop())
        return self._undone[-1].reversed()

    def forth(self) -> Transition:
        """Bring the last undone change back. There must be one."""
        self._done.append(self._undone.pop())
        return self._done[-1]

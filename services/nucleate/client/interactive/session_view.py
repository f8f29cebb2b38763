"""What can be seen of a session without asking the service."""

from __future__ import annotations

from nucleate.client.interactive.masks import Box
from nucleate.client.interactive.results import Click, Nucleus
from nucleate.client.interactive.session_state import SessionState
from nucleate.v1 import interactive_pb2 as pb


class SessionView:
    """A session as the last answers left it."""

    def __init__(self, session: pb.Session) -> None:
        self._state = SessionState(session)

    @property
    def id(self) -> str:
        """What `resume` takes."""
        return self._state.session_id

    @property
    def window(self) -> Box:
        """The part of the image that is annotated."""
        return self._state.window

    @property
    def sequence(self) -> int:
        """Length of the session's log."""
        return self._state.sequence

    @property
    def closed(self) -> bool:
        """Whether the session has ended."""
        return self._state.closed

    @property
    def objects(self) -> dict[int, Nucleus]:
        """Objects by id: accepted ones, proposals, and the one in work."""
        return self._state.objects

    @property
    def working(self) -> Nucleus | None:
        """The object in work: the next click goes to it."""
        return self._state.working

    @property
    def clicks(self) -> tuple[Click, ...]:
        """Clicks of the object in work, oldest first."""
        return self._state.clicks

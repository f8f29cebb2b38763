"""The catalogue of domain errors: one class per thing that can go wrong, named for what happened.

Every message is one public line that names the input and the fix. `nucleate.runtime` maps the direct subclasses of
`NucleateError` to gRPC status codes in one table, and the command line maps them to exit codes.
"""

from __future__ import annotations

from collections.abc import Iterable


class NucleateError(Exception):
    """Base of every error whose message may be shown to the caller."""


class InvalidInput(NucleateError):
    """The caller sent something that can never work."""


class InvalidImage(InvalidInput):
    """An image cannot be decoded or is not an H&E image this service takes."""


class InvalidMask(InvalidInput):
    """An instance map or mask is not what its place asks for."""


class SizeMismatch(InvalidInput):
    """An image and its mask, or two maps, differ in height or width."""


class EmptyInput(InvalidInput):
    """A list or folder that needs at least one entry has none."""


class InvalidModel(InvalidInput):
    """A model's card or weights are damaged, not finite, or of another architecture."""


class InvalidDataset(InvalidInput):
    """A dataset manifest is damaged or cannot be trained on."""


class UnknownProfile(InvalidInput):
    """No profile of that name exists."""

    def __init__(self, name: str, choices: Iterable[str]) -> None:
        super().__init__(f"unknown profile '{name}': choose one of {', '.join(choices)}")


class NotFound(NucleateError):
    """Nothing is stored under that name."""


class Conflict(NucleateError):
    """The name is taken by something else."""


class JobConflict(Conflict):
    """A job of that id was started with another request."""


class Aborted(NucleateError):
    """Somebody else changed it meanwhile; read it again and retry."""


class SessionConflict(Aborted):
    """The session's log has moved on since the caller last saw it."""


class Precondition(NucleateError):
    """The system is not in the state the call needs."""


class SessionExpired(Precondition):
    """Nothing has changed the session for longer than sessions are kept."""


class Fenced(NucleateError):
    """A training step tried to open sealed ground truth."""


class Unauthenticated(NucleateError):
    """The call lacks the token that the service asks for."""


class CorruptBlob(NucleateError):
    """Stored bytes do not match their digest."""


class TooLarge(NucleateError):
    """The input is over a documented limit."""


class Overloaded(TooLarge):
    """The service has too much to do; the same call is worth making again after `retry_after` seconds."""

    retry_after: float = 1.0

    def __init__(self, message: str, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Unreachable(NucleateError):
    """A service cannot be reached."""


class StoreUnreachable(Unreachable):
    """The object store cannot be reached or refuses the credentials."""


class Cancelled(NucleateError):
    """The caller or an operator cancelled it."""

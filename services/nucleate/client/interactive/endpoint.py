"""What blocking and asyncio clients share: where the service is, how it is called, and the requests that open a session."""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from pydantic import SecretStr

from nucleate.client.local.installation import endpoint_variable
from nucleate.errors import InvalidInput, NucleateError, SessionConflict, Unreachable
from nucleate.runtime.error_table import error_from_status
from nucleate.runtime.security import bearer
from nucleate.runtime.settings import ChannelSettings
from nucleate.v1 import common_pb2
from nucleate.v1 import interactive_pb2 as pb

DEFAULT_ENDPOINT = "127.0.0.1:50054"
CALL_S = 60.0
#: Sending an image and opening a session may have to wait for a model to be loaded.
OPENING_S = 300.0

Window = tuple[int, int, int, int]
_CODES = {code.value[0]: code for code in grpc.StatusCode}


@dataclass(frozen=True)
class Endpoint:
    """Where the service is and how it is called; `metadata` carries the token."""

    address: str
    settings: ChannelSettings
    metadata: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, address: str | None, token: str | None, ca: str | os.PathLike[str] | None, tls: bool | None) -> Endpoint:
        """Take what is given, and the rest from the environment."""
        given: dict[str, Any] = {}
        if token is not None:
            given["token"] = SecretStr(token)
        if ca is not None:
            given["tls_ca"] = Path(ca)
        if tls is not None:
            given["tls"] = tls
        if tls is False:
            given["tls_ca"] = None
        settings = ChannelSettings(**given)
        where = address or os.environ.get(endpoint_variable("interactive")) or DEFAULT_ENDPOINT
        return cls(where, settings, bearer(settings.token.get_secret_value()))

    def __repr__(self) -> str:
        return f"Endpoint({self.address!r})"  # the metadata is a secret


def opening_s(timeout_s: float) -> float:
    """Return the deadline of calls that send an image or open a session, for a client with that timeout."""
    return max(timeout_s, OPENING_S)


def open_request(
    image: common_pb2.Image,
    *,
    session_id: str | None,
    model: str | common_pb2.Model | None,
    window: Window | None,
    proposals: common_pb2.Blob | None,
    refinement: pb.Refinement | None,
) -> pb.OpenSessionRequest:
    """Return the request that opens a session; without an id it gets one of its own."""
    request = pb.OpenSessionRequest(
        session_id=session_id or f"py-{uuid.uuid4().hex}", image=image, proposals=proposals, refinement=refinement
    )
    if isinstance(model, str):
        request.model_ref = model
    elif model is not None:
        request.model.CopyFrom(model)
    if window is not None:
        x, y, width, height = window
        if min(window) < 0 or not (width and height):
            raise InvalidInput(f"window {window} is not (x, y, width, height) in image pixels")
        request.window.CopyFrom(common_pb2.Window(x=x, y=y, width=width, height=height))
    return request


def read_answer(answer: pb.InteractResponse, field: str) -> Any:
    """Return what an answer on the stream holds for the call in `field`; raise the domain error that it may hold instead."""
    if answer.WhichOneof("answer") == field:
        return getattr(answer, field)
    error = answer.error
    raise error_from_status(_CODES.get(error.code, grpc.StatusCode.UNKNOWN), error.message, error.name, error.retry_after)


def deadline_error() -> NucleateError:
    """Return the error of a call whose deadline has passed."""
    return Unreachable("the service did not answer in time; is it overloaded?")


def stream_ended_error() -> NucleateError:
    """Return the error of a call on a stream that the service ended."""
    return Unreachable("the service ended the stream: it is stopping; call again")


def conflict_error(session_id: str) -> SessionConflict:
    """Return the error of a call on a session that somebody else has changed."""
    return SessionConflict(
        f"session {session_id} was changed by somebody else: it has been read again; look at its objects and repeat the call"
    )

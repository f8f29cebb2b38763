"""The blocking client."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from functools import partial
from types import TracebackType
from typing import ParamSpec, Self, TypeVar

from nucleate.client.interactive.connection import Connection, StreamTransport, UnaryTransport
from nucleate.client.interactive.endpoint import CALL_S, Endpoint, Window, conflict_error, open_request, opening_s
from nucleate.client.interactive.image_source import ImageSource, encoded, image_chunks
from nucleate.client.interactive.masks import Mask
from nucleate.client.interactive.results import ClickedNucleus, Nucleus, Prediction, SessionResult, StoredImage
from nucleate.client.interactive.session_state import Call
from nucleate.client.interactive.session_view import SessionView
from nucleate.errors import Aborted, NucleateError
from nucleate.v1 import common_pb2
from nucleate.v1 import interactive_pb2 as pb

P = ParamSpec("P")
T = TypeVar("T")


class Client:
    """The interactive service at "host:port".

    `model` is a stored model's reference, "model:sha256/…"; without one the service takes its default. `token`, `ca` (a PEM
    file) and `tls` are taken from NUCLEATE_TOKEN, NUCLEATE_TLS_CA and NUCLEATE_TLS where not given. A call that finds the
    service away or too busy is made again for `timeout` seconds, for 5 while it was never heard. With `stream` each session
    sends its calls on one stream.

    Raises:
        InvalidInput: token or authority cannot be used.
    """

    def __init__(
        self,
        endpoint: str | None = None,
        *,
        model: str | common_pb2.Model | None = None,
        token: str | None = None,
        ca: str | os.PathLike[str] | None = None,
        tls: bool | None = None,
        timeout: float = CALL_S,
        stream: bool = False,
    ) -> None:
        self._connection = Connection(Endpoint.of(endpoint, token, ca, tls))
        self._model, self._timeout, self._stream = model, timeout, stream

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection. Sessions stay as they are: `resume` goes on with them."""
        self._connection.close()

    def put_image(self, image: ImageSource, image_id: str = "") -> StoredImage:
        """Store an image file, encoded bytes or RGB pixels with the service; the same bytes are stored once."""
        name, data = encoded(image, image_id)

        def attempt(remaining_s: float) -> pb.PutImageResponse:
            answer: pb.PutImageResponse = self._connection.call("PutImage", image_chunks(name, data), remaining_s)
            return answer

        return StoredImage.read(self._connection.repeat(attempt, self._timeout, opening_s(self._timeout)))

    def open(
        self,
        image: ImageSource | common_pb2.Image,
        *,
        window: Window | None = None,
        proposals: common_pb2.Blob | None = None,
        model: str | common_pb2.Model | None = None,
        refinement: pb.Refinement | None = None,
        session_id: str | None = None,
        image_id: str = "",
    ) -> Session:
        """Open a session on an image, or on the part of it in `window` = (x, y, width, height).

        `proposals` is an instance map in the store to start from; `Session.propose` has the service make one. With a
        `session_id` that is known the session goes on; it must have been opened in the same way.
        """
        request = open_request(
            image if isinstance(image, common_pb2.Image) else self.put_image(image, image_id).reference,
            session_id=session_id,
            model=model or self._model,
            window=window,
            proposals=proposals,
            refinement=refinement,
        )
        return self._session("OpenSession", request)

    def resume(self, session_id: str) -> Session:
        """Go on with a session, whoever opened it and whichever replica answers."""
        return self._session("GetSession", pb.GetSessionRequest(session_id=session_id))

    def _session(self, rpc: str, request: pb.OpenSessionRequest | pb.GetSessionRequest) -> Session:
        answer = self._connection.repeat(partial(self._connection.call, rpc, request), self._timeout, opening_s(self._timeout))
        return Session(self._connection, answer.session, self._timeout, stream=self._stream)


class Session(SessionView):
    """One image, or a window of it, and its objects. Its methods may be called from any thread, one at a time goes out.

    What the service does not know yet never gets lost in between: a call that lost its answer can be repeated as it was, and
    any other call first reads the session again.
    """

    def __init__(self, connection: Connection, session: pb.Session, timeout_s: float, *, stream: bool) -> None:
        super().__init__(session)
        self._connection, self._timeout_s, self._lock = connection, timeout_s, threading.Lock()
        transport = StreamTransport if stream else UnaryTransport
        self._transport: StreamTransport | UnaryTransport = transport(connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Let go of the session; it stays as it is, and `Client.resume` goes on with it. `close` ends it."""
        self._transport.close()

    def click(self, x: int, y: int, *, positive: bool = True, probability: bool = False) -> Prediction:
        """Click on the nucleus in work, or beside it if not `positive`; start a new nucleus if none is in work.

        `x` and `y` are image pixels; `probability` asks for the probabilities behind the mask.
        """
        return self._execute(self._state.click, x, y, positive=positive, probability=probability)

    def click_many(self, points: Iterable[tuple[int, int]]) -> tuple[ClickedNucleus, ...]:
        """Click once on each of up to 1024 nuclei; each becomes an object, or says why not."""
        return self._execute(self._state.click_many, tuple(points))

    def propose(self, instances: common_pb2.Blob | None = None) -> tuple[Nucleus, ...]:
        """Add objects to correct: those of an instance map in the store, or of the classical segmentation."""
        return self._execute(self._state.propose, instances)

    def undo(self) -> Mask | None:
        """Take the last change back; return the mask of the object that is in work then, if any."""
        return self._execute(self._state.undo)

    def redo(self) -> Mask | None:
        """Bring back what was taken back last; return as `undo`."""
        return self._execute(self._state.redo)

    def select(self, object_id: int) -> Mask:
        """Take an object back into work."""
        return self._execute(self._state.select, object_id)

    def delete(self, object_id: int) -> None:
        """Drop an object."""
        return self._execute(self._state.delete, object_id)

    def accept(self) -> int:
        """Finish the object in work; return its id."""
        return self._execute(self._state.accept)

    def refresh(self) -> None:
        """Read the session again, for what others have changed."""
        with self._lock:
            self._load()

    def close(self) -> SessionResult:
        """End the session; again: the same result. An object in work must be accepted or deleted first."""
        with self._lock:
            attempt = partial(self._connection.call, "CloseSession", pb.CloseSessionRequest(session_id=self.id))
            answer = self._connection.repeat(attempt, self._timeout_s)
            self._load()
            self._transport.close()
            return self._state.result(answer)

    def _execute(self, plan: Callable[P, Call[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        with self._lock:
            call = plan(*args, **kwargs)
            if self._state.must_reload_before(call):
                self._load()
                call = plan(*args, **kwargs)
            self._state.sent(call)
            try:
                answer = self._connection.repeat(partial(self._transport.send, call), self._timeout_s)
            except Aborted:
                self._load()
                raise conflict_error(self.id) from None
            except NucleateError as error:
                self._state.refused(error)
                raise
            result = self._state.answered(call, answer)
            if self._state.must_reload:
                self._load()
            return result

    def _load(self) -> None:
        attempt = partial(self._connection.call, "GetSession", pb.GetSessionRequest(session_id=self.id))
        self._state.load(self._connection.repeat(attempt, self._timeout_s).session)

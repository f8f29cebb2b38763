"""The client for asyncio: the same surface as `client`, awaited."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Generator, Iterable
from functools import partial
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar

from nucleate.client.interactive.async_connection import AsyncConnection, AsyncStreamTransport, AsyncUnaryTransport
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


class AsyncClient:
    """The interactive service at "host:port"; see `Client`. Make it where the event loop runs."""

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
        self._connection = AsyncConnection(Endpoint.of(endpoint, token, ca, tls))
        self._model, self._timeout, self._stream = model, timeout, stream

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection. Sessions stay as they are: `resume` goes on with them."""
        await self._connection.close()

    async def put_image(self, image: ImageSource, image_id: str = "") -> StoredImage:
        """Store an image file, encoded bytes or RGB pixels with the service; the same bytes are stored once."""
        name, data = await asyncio.to_thread(encoded, image, image_id)

        async def attempt(remaining_s: float) -> Any:
            return await self._connection.call("PutImage", image_chunks(name, data), remaining_s)

        return StoredImage.read(await self._connection.repeat(attempt, self._timeout, opening_s(self._timeout)))

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
    ) -> PendingSession:
        """Open a session, by `await client.open(…)` or `async with client.open(…) as session`; see `Client.open`."""

        async def opened() -> AsyncSession:
            request = open_request(
                image if isinstance(image, common_pb2.Image) else (await self.put_image(image, image_id)).reference,
                session_id=session_id,
                model=model or self._model,
                window=window,
                proposals=proposals,
                refinement=refinement,
            )
            return await self._session("OpenSession", request)

        return PendingSession(opened)

    def resume(self, session_id: str) -> PendingSession:
        """Go on with a session, whoever opened it and whichever replica answers; awaited or entered as `open`."""
        return PendingSession(partial(self._session, "GetSession", pb.GetSessionRequest(session_id=session_id)))

    async def _session(self, rpc: str, request: pb.OpenSessionRequest | pb.GetSessionRequest) -> AsyncSession:
        attempt = partial(self._connection.call, rpc, request)
        answer = await self._connection.repeat(attempt, self._timeout, opening_s(self._timeout))
        return AsyncSession(self._connection, answer.session, self._timeout, stream=self._stream)


class PendingSession:
    """A session that is not open yet: await it, or enter it."""

    def __init__(self, opened: Callable[[], Awaitable[AsyncSession]]) -> None:
        self._opened = opened
        self._session: AsyncSession | None = None

    def __await__(self) -> Generator[Any, None, AsyncSession]:
        return self._opened().__await__()

    async def __aenter__(self) -> AsyncSession:
        self._session = await self._opened()
        return self._session

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.release()


class AsyncSession(SessionView):
    """One image, or a window of it, and its objects; see `Session`. Calls of many tasks go out one at a time."""

    def __init__(self, connection: AsyncConnection, session: pb.Session, timeout_s: float, *, stream: bool) -> None:
        super().__init__(session)
        self._connection, self._timeout_s, self._lock = connection, timeout_s, asyncio.Lock()
        transport = AsyncStreamTransport if stream else AsyncUnaryTransport
        self._transport: AsyncStreamTransport | AsyncUnaryTransport = transport(connection)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of the session; it stays as it is, and `AsyncClient.resume` goes on with it. `close` ends it."""
        await self.release()

    async def release(self) -> None:
        """End the stream, if there is one."""
        await self._transport.close()

    async def click(self, x: int, y: int, *, positive: bool = True, probability: bool = False) -> Prediction:
        """Click on the nucleus in work, or beside it if not `positive`; start a new nucleus if none is in work."""
        return await self._execute(self._state.click, x, y, positive=positive, probability=probability)

    async def click_many(self, points: Iterable[tuple[int, int]]) -> tuple[ClickedNucleus, ...]:
        """Click once on each of up to 1024 nuclei; each becomes an object, or says why not."""
        return await self._execute(self._state.click_many, tuple(points))

    async def propose(self, instances: common_pb2.Blob | None = None) -> tuple[Nucleus, ...]:
        """Add objects to correct: those of an instance map in the store, or of the classical segmentation."""
        return await self._execute(self._state.propose, instances)

    async def undo(self) -> Mask | None:
        """Take the last change back; return the mask of the object that is in work then, if any."""
        return await self._execute(self._state.undo)

    async def redo(self) -> Mask | None:
        """Bring back what was taken back last; return as `undo`."""
        return await self._execute(self._state.redo)

    async def select(self, object_id: int) -> Mask:
        """Take an object back into work."""
        return await self._execute(self._state.select, object_id)

    async def delete(self, object_id: int) -> None:
        """Drop an object."""
        return await self._execute(self._state.delete, object_id)

    async def accept(self) -> int:
        """Finish the object in work; return its id."""
        return await self._execute(self._state.accept)

    async def refresh(self) -> None:
        """Read the session again, for what others have changed."""
        async with self._lock:
            await self._load()

    async def close(self) -> SessionResult:
        """End the session; again: the same result. An object in work must be accepted or deleted first."""
        async with self._lock:
            attempt = partial(self._connection.call, "CloseSession", pb.CloseSessionRequest(session_id=self.id))
            answer = await self._connection.repeat(attempt, self._timeout_s)
            await self._load()
            await self._transport.close()
            return self._state.result(answer)

    async def _execute(self, plan: Callable[P, Call[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        async with self._lock:
            call = plan(*args, **kwargs)
            if self._state.must_reload_before(call):
                await self._load()
                call = plan(*args, **kwargs)
            self._state.sent(call)
            try:
                answer = await self._connection.repeat(partial(self._transport.send, call), self._timeout_s)
            except Aborted:
                await self._load()
                raise conflict_error(self.id) from None
            except NucleateError as error:
                self._state.refused(error)
                raise
            result = self._state.answered(call, answer)
            if self._state.must_reload:
                await self._load()
            return result

    async def _load(self) -> None:
        attempt = partial(self._connection.call, "GetSession", pb.GetSessionRequest(session_id=self.id))
        self._state.load((await self._connection.repeat(attempt, self._timeout_s)).session)

"""Calls under asyncio: one at a time, or in order on a stream."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import grpc

from nucleate.client.interactive.endpoint import Endpoint, deadline_error, read_answer, stream_ended_error
from nucleate.client.interactive.retries import Reachability, RetrySchedule
from nucleate.client.interactive.session_state import Call
from nucleate.errors import NucleateError
from nucleate.runtime.channels import CHANNEL_OPTIONS
from nucleate.runtime.error_table import rpc_error_to_domain
from nucleate.runtime.security import channel_credentials
from nucleate.v1 import interactive_pb2 as pb
from nucleate.v1 import interactive_pb2_grpc

T = TypeVar("T")
_END_S = 1.0


class AsyncConnection:
    """A channel to the service and what is known of it."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint, self.reachability = endpoint, Reachability()
        credentials, options = channel_credentials(endpoint.settings), CHANNEL_OPTIONS
        address = endpoint.address
        self._channel = (
            grpc.aio.secure_channel(address, credentials, options)
            if credentials
            else grpc.aio.insecure_channel(address, options)
        )
        factory: Callable[[Any], Any] = interactive_pb2_grpc.InteractiveServiceStub
        self._stub = factory(self._channel)

    async def close(self) -> None:
        """Close the channel."""
        await self._channel.close(None)

    async def repeat(self, attempt: Callable[[float], Awaitable[T]], retry_s: float, deadline_s: float | None = None) -> T:
        """Make attempts for `retry_s` seconds, until one succeeds or fails for good.

        Each is told how many seconds are left to `deadline_s`, which is later where answers take long.
        """
        schedule = RetrySchedule(self.reachability, retry_s, deadline_s or retry_s)
        while True:
            try:
                answer = await attempt(schedule.remaining_s)
            except NucleateError as error:
                await asyncio.sleep(schedule.backoff_s(error))
            else:
                self.reachability.reached = True
                return answer

    async def call(self, rpc: str, request: Any, timeout_s: float) -> Any:
        """Make one attempt at an RPC; raise domain errors."""
        try:
            return await getattr(self._stub, rpc)(request, timeout=timeout_s, metadata=self.endpoint.metadata)
        except grpc.RpcError as error:
            raise rpc_error_to_domain(error) from None

    def interact(self) -> Any:
        """Begin a stream of calls; return the call, which reads and writes."""
        return self._stub.Interact(metadata=self.endpoint.metadata)


class AsyncUnaryTransport:
    """Sends each call of a session by itself."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def send(self, call: Call[Any], timeout_s: float) -> Any:
        """Return the answer, or raise domain errors."""
        return await self._connection.call(call.rpc, call.request, timeout_s)

    async def close(self) -> None:
        """Nothing is held."""


class AsyncStreamTransport:
    """Sends the calls of a session on one stream, which is begun anew when it is lost."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self._last_id = 0
        self._call: Any = None

    async def send(self, call: Call[Any], timeout_s: float) -> Any:
        """Return the answer, or raise domain errors."""
        self._last_id += 1
        request = pb.InteractRequest(request_id=self._last_id, **{call.field: call.request})
        try:
            async with asyncio.timeout(timeout_s):
                answer = await self._exchanged(request)
        except grpc.RpcError as error:
            self._drop()
            raise rpc_error_to_domain(error) from None
        except TimeoutError:
            self._drop()
            raise deadline_error() from None
        except BaseException:  # cancelled in between: the answer under way must not be taken for the next one's
            self._drop()
            raise
        return read_answer(answer, call.field)

    async def close(self) -> None:
        """End the stream."""
        if self._call is not None and not self._call.done():
            with contextlib.suppress(grpc.RpcError, asyncio.InvalidStateError, TimeoutError):
                async with asyncio.timeout(_END_S):
                    await self._call.done_writing()
                    await self._call.read()
        self._drop()

    def _drop(self) -> None:
        if self._call is not None:
            self._call.cancel()
            self._call = None

    async def _exchanged(self, request: pb.InteractRequest) -> pb.InteractResponse:
        if self._call is None or self._call.done():
            self._call = self._connection.interact()
        try:
            await self._written(request)
            answer = await self._call.read()
        except asyncio.InvalidStateError:  # it ended meanwhile
            raise stream_ended_error() from None
        if not isinstance(answer, pb.InteractResponse):
            raise stream_ended_error()
        return answer

    async def _written(self, request: pb.InteractRequest) -> None:
        try:
            await self._call.write(request)
        except grpc.RpcError as error:
            # gRPC says INTERNAL in place of the stream's own status where it ended before this loop heard of it
            # (github.com/grpc/grpc/issues/36066). Calls are safe to repeat, and a fault that lasts will be told again.
            if isinstance(error, grpc.aio.AioRpcError) and error.code() is grpc.StatusCode.INTERNAL:
                self._drop()
                raise stream_ended_error() from None
            raise

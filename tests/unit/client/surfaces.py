"""The blocking and the asyncio client behind one blocking surface, so that one suite tests both."""

from __future__ import annotations

import asyncio
import inspect
import threading
from typing import Any

from tests.unit.client.scripted import Scripted

from nucleate.client import AsyncClient, Client
from nucleate.runtime.server import RunningServer
from nucleate.v1 import common_pb2

IMAGE = common_pb2.Image(id="slide", data=common_pb2.Blob(uri="sha256/ab/abc"))
SURFACES = ("blocking", "blocking-stream", "asyncio", "asyncio-stream")


class Blocking:
    """Runs what an asyncio object's methods return in a loop of its own thread."""

    def __init__(self, target: Any, loop: asyncio.AbstractEventLoop) -> None:
        self.target, self._loop = target, loop

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.target, name)
        if not callable(found):
            return found

        def call(*args: Any, **kwargs: Any) -> Any:
            return self.run(found(*args, **kwargs))

        return call

    def __enter__(self) -> Any:
        return self.run(self.target.__aenter__())

    def __exit__(self, *error: object) -> None:
        self.run(self.target.__aexit__(*error))

    def run(self, result: Any) -> Any:
        if not inspect.isawaitable(result):
            return result
        found = asyncio.run_coroutine_threadsafe(_awaited(result), self._loop).result(60)
        return Blocking(found, self._loop) if hasattr(found, "__aenter__") else found


async def _awaited(result: Any) -> Any:
    return await result


def connect(surface: str, *args: Any, **kwargs: Any) -> Any:
    """A client, or an asyncio client that can be used like one; close it after use, or use it in a `with` statement."""
    stream = surface.endswith("-stream")
    if not surface.startswith("asyncio"):
        return Client(*args, stream=stream, **kwargs)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=_run, args=(loop,), daemon=True)
    thread.start()

    async def made() -> AsyncClient:
        return AsyncClient(*args, stream=stream, **kwargs)

    try:
        client = asyncio.run_coroutine_threadsafe(made(), loop).result(60)
    except BaseException:
        loop.call_soon_threadsafe(loop.stop)
        raise
    return Closing(client, loop, thread)


def _run(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
    finally:
        loop.close()


class Closing(Blocking):
    """Ends the loop with its client."""

    def __init__(self, target: Any, loop: asyncio.AbstractEventLoop, thread: threading.Thread) -> None:
        super().__init__(target, loop)
        self._thread = thread

    def close(self) -> None:
        self.run(self.target.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class Service:
    """The scripted service and a client of it."""

    def __init__(self, server: RunningServer, servicer: Scripted, surface: str) -> None:
        self.server, self.servicer, self.surface = server, servicer, surface
        self.client = self.connect()

    def connect(self, **settings: Any) -> Any:
        return connect(self.surface, self.server.endpoint, **({"timeout": 10} | settings))

    def open(self, **arguments: Any) -> Any:
        session = self.client.open(IMAGE, **arguments)
        self.servicer.seen.clear()
        return session

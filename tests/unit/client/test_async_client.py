"""What only the asyncio client can meet: cancelled tasks and a loop that stands still."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.unit.client.scripted import Scripted, serving
from tests.unit.client.surfaces import IMAGE

from nucleate.client import AsyncClient
from nucleate.runtime.server import RunningServer


@pytest.mark.parametrize("stream", [False, True])
def test_a_cancelled_task_leaves_the_session_sound(tmp_path: Path, stream: bool):
    servicer = Scripted()

    async def annotate(endpoint: str) -> None:
        async with AsyncClient(endpoint, stream=stream) as client, client.open(IMAGE) as session:
            await session.click(5, 5)
            servicer.script = [0.4]
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(session.click(6, 5), 0.1)
            await asyncio.sleep(0.6)
            mask = await session.click(7, 5)
            assert (mask.area, session.sequence, len(session.clicks)) == (49, 4, 3)
            results = await asyncio.gather(*(session.click(x, 9) for x in range(3)))
            assert [result.area for result in results] == [81, 121, 144]

    with serving(tmp_path, servicer) as server:
        asyncio.run(annotate(server.endpoint))


@pytest.mark.parametrize("stream", [False, True])
def test_a_stream_lost_before_the_loop_hears_of_it(tmp_path: Path, stream: bool):
    servicer = Scripted()

    async def annotate(server: RunningServer) -> None:
        async with AsyncClient(server.endpoint, stream=stream) as client, client.open(IMAGE) as session:
            await session.click(5, 5)
            server.stop()  # the loop stands still meanwhile: the client writes before it has read that the stream ended
            with serving(tmp_path, servicer, port=server.port):
                assert (await session.click(6, 5)).area == 25
                assert (session.sequence, len(servicer.log)) == (3, 2)

    with serving(tmp_path, servicer) as server:
        asyncio.run(annotate(server))


@pytest.mark.parametrize("stream", [False, True])
def test_a_session_outlives_its_client(tmp_path: Path, stream: bool):
    async def annotate(server: RunningServer) -> None:
        async with AsyncClient(server.endpoint, stream=stream) as client, client.open(IMAGE) as session:
            await session.click(5, 5)
            await client.close()

    with serving(tmp_path, Scripted()) as server:
        asyncio.run(annotate(server))

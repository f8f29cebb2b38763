"""What the way to the interactive service and back adds to a click, by client: `python -m tests.bench.bench_client [CLICKS]`.

The service runs as a process of its own on the loopback address, with a model of the profile `tiny` and no refinement. Added =
time of the call as its caller sees it, less the milliseconds that the service says it has worked. The four clients take turns
click by click, so that whatever else the machine does meets all of them. The figures hold for the machine that printed them;
their ratios travel better.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
from tests.contract.interactive_bench import SIZE, running_bench
from tests.unit.client.surfaces import SURFACES, connect
from tests.unit.interactive.nuclei import draw_nuclei

from nucleate.client import AsyncSession, Session
from nucleate.client.files.model_folders import store_model
from nucleate.runtime.channels import connect as channel_to
from nucleate.runtime.channels import wait_ready


@contextmanager
def service(store: str) -> Iterator[str]:
    """The service as a process; its endpoint."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = {
        "STORE": store,
        "PORT": str(port),
        "THREADS": "1",
        "DEVICE": "cpu",
        "LOG_LEVEL": "error",
        "MOST_EVALUATIONS": "0",
    }
    environment = os.environ | {f"NUCLEATE_{name}": value for name, value in settings.items()}
    child = subprocess.Popen([sys.executable, "-m", "nucleate.interactive"], env=environment)
    try:
        with channel_to(f"127.0.0.1:{port}") as channel:
            wait_ready(channel, timeout=120)
        yield f"127.0.0.1:{port}"
    finally:
        child.kill()
        child.wait()


def timed(session: Session, x: int, y: int) -> tuple[float, float]:
    """Milliseconds of a click: of the call, and of the service's own work on it."""
    began = time.perf_counter()
    mask = session.click(x, y)
    return 1000 * (time.perf_counter() - began), mask.milliseconds


async def timed_async(session: AsyncSession, x: int, y: int) -> tuple[float, float]:
    """The same, in the event loop."""
    began = time.perf_counter()
    mask = await session.click(x, y)
    return 1000 * (time.perf_counter() - began), mask.milliseconds


def measured(endpoint: str, model: str, clicks: int) -> dict[str, np.ndarray]:
    """Milliseconds (clicks, 2) per client: of the call, and of the service's own work on it."""
    rgb, instances = draw_nuclei(SIZE, 9, 5)
    rows, columns = np.nonzero(instances == 1)
    x, y = int(columns[len(columns) // 2]), int(rows[len(rows) // 2])
    found: dict[str, list[tuple[float, float]]] = {surface: [] for surface in SURFACES}
    with ExitStack() as stack:
        clients = {surface: stack.enter_context(connect(surface, endpoint, model=model)) for surface in SURFACES}
        sessions = {surface: stack.enter_context(client.open(rgb)) for surface, client in clients.items()}
        for number in range(clicks + 5):
            for surface, session in sessions.items():
                times = (
                    session.run(timed_async(session.target, x, y)) if surface.startswith("asyncio") else timed(session, x, y)
                )
                session.undo()
                if number >= 5:  # after the first few, everything is warm
                    found[surface].append(times)
    return {surface: np.array(pairs) for surface, pairs in found.items()}


def main() -> None:
    """Measure and print a line per client."""
    clicks = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder).as_uri()
        with running_bench(store) as bench:
            model = store_model(bench.model, bench.blobs)
        with service(store) as endpoint:
            times = measured(endpoint, model, clicks)
    sys.stdout.write(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}, {clicks} clicks per client; ms as p50 / p99\n")
    for surface, pairs in times.items():
        columns = {"call": pairs[:, 0], "service": pairs[:, 1], "added": pairs[:, 0] - pairs[:, 1]}
        shown = (f"{name} {np.median(ms):7.2f} / {np.percentile(ms, 99):7.2f}" for name, ms in columns.items())
        sys.stdout.write(f"{surface:<16} {'   '.join(shown)}\n")


if __name__ == "__main__":
    main()

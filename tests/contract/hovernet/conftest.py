"""What the contract tests of HoVer-Net share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.contract.hovernet.service_bench import Bench
from tests.unit.hovernet.tissue import draw

from nucleate.hovernet.service.servicer import register
from nucleate.hovernet.service.settings import HoverNetSettings
from nucleate.pathology.images.codec import encode_png
from nucleate.runtime.blobs import Blobs
from nucleate.runtime.channels import connect
from nucleate.runtime.server import start_server
from nucleate.v1 import common_pb2 as common
from nucleate.v1 import hovernet_pb2_grpc as pb_grpc


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder: Path = tmp_path_factory.mktemp("store")
    server = start_server("hovernet", register, HoverNetSettings(store=folder.as_uri(), device="cpu", log_level="error"))
    with connect(server.endpoint) as channel:
        bench = Bench(pb_grpc.HoverNetServiceStub(channel), Blobs(server.context.store), server, [])
        for seed in (5, 6):
            data = bench.blobs.put(encode_png(draw(96, 14, seed)[0]), "image/png")
            bench.images.append(common.Image(id=f"slide-{seed}", data=data))
        yield bench
    server.stop()


@pytest.fixture(scope="session")
def model(bench: Bench) -> common.Model:
    result = bench.result("Train", bench.train("train-1"))
    assert 0.0 <= result.metrics["agreement"] <= 1.0
    return result.model

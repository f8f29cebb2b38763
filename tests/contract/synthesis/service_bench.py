"""A running SynthesisService with a real folder store and two un-annotated images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nucleate.pathology.images.codec import encode_png
from nucleate.runtime.blobs import Blobs
from nucleate.runtime.channels import connect, follow
from nucleate.runtime.server import start_server
from nucleate.synthesis.phantom.tissue import draw_tissue
from nucleate.synthesis.service.servicer import register
from nucleate.synthesis.service.settings import SynthesisSettings
from nucleate.v1 import common_pb2 as common
from nucleate.v1 import synthesis_pb2 as pb
from nucleate.v1 import synthesis_pb2_grpc as pb_grpc

WHITE = encode_png(np.full((96, 96, 3), 245, dtype=np.uint8))


@dataclass
class Bench:
    """A running service, its store, and two un-annotated images in it."""

    stub: pb_grpc.SynthesisServiceStub
    blobs: Blobs
    images: list[common.Image]

    def events(self, job_id: str, **changes: Any) -> list[pb.SynthesizeResponse]:
        request = pb.SynthesizeRequest(
            **({"images": self.images, "count": 3, "seed": 7, "profile": "tiny"} | changes), job_id=job_id
        )
        return list(follow(self.stub.Synthesize, request, timeout=60))

    def image(self, name: str, data: bytes) -> common.Image:
        return common.Image(id=name, data=self.blobs.put(data, "image/png"))


def open_bench(folder: Path, threads: int) -> Iterator[Bench]:
    server = start_server("synthesis", register, SynthesisSettings(store=folder.as_uri(), threads=threads, log_level="error"))
    with connect(server.endpoint) as channel:
        bench = Bench(pb_grpc.SynthesisServiceStub(channel), Blobs(server.context.store), [])
        bench.images = [bench.image(f"slide-{seed}", encode_png(draw_tissue(seed, 160)[0])) for seed in (2, 5)]
        yield bench
    server.stop()

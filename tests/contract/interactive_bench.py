"""Two replicas of the interactive service over one folder store, with a tiny model that is trained once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tests.unit.interactive.nuclei import draw_nuclei

from nucleate.dataset.manifest import BlobRef, Dataset, Origin, Sample
from nucleate.interactive.service.servicer import register
from nucleate.interactive.service.settings import InteractiveSettings
from nucleate.pathology.images.codec import encode_instances, encode_png
from nucleate.runtime.blobs import Blobs
from nucleate.runtime.channels import call, connect, follow
from nucleate.runtime.server import RunningServer, start_server
from nucleate.v1 import common_pb2 as common
from nucleate.v1 import interactive_pb2 as pb
from nucleate.v1 import interactive_pb2_grpc as pb_grpc

SIZE = 128
WINDOW = common.Window(x=16, y=16, width=96, height=96)
SETTINGS = {"device": "cpu", "threads": 1, "log_level": "error", "drain_seconds": 1}


@dataclass
class Bench:
    """Two replicas over one store, a trained tiny model, an image and its map."""

    store: str
    servers: list[RunningServer]
    stubs: list[pb_grpc.InteractiveServiceStub]
    blobs: Blobs
    dataset: common.Dataset
    model: common.Model = field(default_factory=common.Model)
    metrics: dict[str, float] = field(default_factory=dict)
    opened: int = 0

    def image(self, seed: int = 5) -> tuple[common.Image, np.ndarray]:
        rgb, instances = draw_nuclei(SIZE, 9, seed)
        return common.Image(id=f"image-{seed}", data=self.blobs.put(encode_png(rgb), "image/png")), instances

    def opening(self, **changes: Any) -> pb.OpenSessionRequest:
        self.opened += 1
        image, _ = self.image()
        arguments = {"session_id": f"s{self.opened}", "image": image, "model": self.model, "window": WINDOW}
        return pb.OpenSessionRequest(**(arguments | changes))

    def open(self, replica: int = 0, **changes: Any) -> pb.Session:
        return call(self.stubs[replica].OpenSession, self.opening(**changes)).session

    def session(self, name: str, replica: int = 0) -> pb.Session:
        return call(self.stubs[replica].GetSession, pb.GetSessionRequest(session_id=name)).session

    def proposals(self, instances: np.ndarray) -> common.Blob:
        return self.blobs.put(encode_instances(instances)[0], "image/png")

    @contextmanager
    def replica(self, **settings: Any) -> Iterator[pb_grpc.InteractiveServiceStub]:
        """One more replica, with other settings."""
        server = start_server("interactive", register, InteractiveSettings(store=self.store, **(SETTINGS | settings)))
        with connect(server.endpoint) as channel:
            yield pb_grpc.InteractiveServiceStub(channel)
        server.stop()


def train_request(dataset: common.Dataset, **changes: Any) -> pb.InteractiveServiceTrainRequest:
    return pb.InteractiveServiceTrainRequest(
        **({"job_id": "train-1", "dataset": dataset, "profile": "tiny", "seed": 3} | changes)
    )


def trained(stub: pb_grpc.InteractiveServiceStub, request: pb.InteractiveServiceTrainRequest) -> Any:
    return list(follow(stub.Train, request))[-1].result


def put_dataset(blobs: Blobs) -> common.Dataset:
    samples = []
    for index, split in enumerate(("train", "train", "val")):
        rgb, instances = draw_nuclei(SIZE, 9, index)
        parts = [blobs.put(encode_png(rgb), "image/png"), blobs.put(encode_instances(instances)[0], "image/png")]
        image, labels = (BlobRef(part.uri, part.sha256, part.size, part.media_type) for part in parts)
        samples.append(Sample(f"s{index}", image, labels, None, Origin.SYNTHETIC, split))
    return common.Dataset(manifest=blobs.put(Dataset(samples).to_json(), "application/json"), samples=3)


@contextmanager
def running_bench(store: str) -> Iterator[Bench]:
    """Start two replicas and train."""
    servers = [start_server("interactive", register, InteractiveSettings(store=store, **SETTINGS)) for _ in range(2)]
    channels = [connect(server.endpoint) for server in servers]
    stubs = [pb_grpc.InteractiveServiceStub(channel) for channel in channels]
    blobs = servers[0].context.blobs
    bench = Bench(store, servers, stubs, blobs, put_dataset(blobs))
    result = trained(stubs[0], train_request(bench.dataset))
    bench.model, bench.metrics = result.model, dict(result.metrics)
    yield bench
    for channel in channels:
        channel.close()
    for server in servers:
        server.stop()


def click(x: int, y: int, positive: bool = True) -> pb.PlacedClick:
    return pb.PlacedClick(x=x, y=y, positive=positive)


def click_request(name: str, sequence: int, x: int, y: int, positive: bool = True, **more: Any) -> pb.ClickRequest:
    return pb.ClickRequest(session_id=name, sequence=sequence, click=click(x, y, positive), **more)


def pixels(mask: pb.Mask) -> np.ndarray:
    found = np.zeros((SIZE, SIZE), bool)
    box, odd = mask.box, np.arange(len(mask.runs)) % 2 == 1
    found[box.y : box.y + box.height, box.x : box.x + box.width] = np.repeat(odd, mask.runs).reshape(box.height, box.width)
    return found

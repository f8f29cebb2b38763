"""A running HoverNetService with a real folder store, and what the tests put there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import safetensors.torch
from tests.unit.hovernet.tissue import draw

from nucleate.dataset.manifest import BlobRef, Dataset, Origin, Sample
from nucleate.pathology.images.codec import encode_instances, encode_mask, encode_png
from nucleate.runtime.blobs import Blobs
from nucleate.runtime.channels import follow
from nucleate.runtime.server import RunningServer
from nucleate.v1 import common_pb2 as common
from nucleate.v1 import hovernet_pb2 as pb
from nucleate.v1 import hovernet_pb2_grpc as pb_grpc

SIDE = 64


@dataclass
class Bench:
    """A running service, its store, and what the tests put there."""

    stub: pb_grpc.HoverNetServiceStub
    blobs: Blobs
    server: RunningServer
    images: list[common.Image]

    def result(self, method: str, request: Any) -> Any:
        return list(follow(getattr(self.stub, method), request, timeout=120))[-1].result

    def put_map(self, instances: np.ndarray, *, sealed: bool = False) -> common.Blob:
        data, media_type = encode_instances(instances)
        return self.blobs.put(data, media_type, sealed=sealed)

    def dataset(self, *, sealed: bool = False, side: int = SIDE, classes: Sequence[str] = ()) -> common.Dataset:
        samples = []
        for seed in (0, 1, 2):
            image, instances = draw(SIDE, 8, seed)
            ignore = np.zeros((SIDE, SIDE), np.bool_)
            ignore[:4] = True
            samples.append(
                Sample(
                    id=f"s{seed}",
                    image=ref(self.blobs.put(encode_png(image), "image/png")),
                    instances=ref(self.put_map(instances[:side, :side], sealed=sealed)),
                    ignore=ref(self.blobs.put(encode_mask(ignore), "image/png")),
                    origin=(Origin.PSEUDO, Origin.ACCEPTED, Origin.SYNTHETIC)[seed],
                    split="val" if seed == 2 else "train",
                    types=ref(self.put_map(np.where(instances > 0, 1 + instances % 2, 0))) if classes and seed == 0 else None,
                )
            )
        manifest = self.blobs.put(Dataset(samples, classes).to_json(), "application/json")
        return common.Dataset(manifest=manifest, samples=len(samples))

    def train(self, job_id: str, **changes: Any) -> pb.HoverNetServiceTrainRequest:
        fields = {"dataset": self.dataset(), "profile": "tiny", "seed": 3} | changes
        return pb.HoverNetServiceTrainRequest(job_id=job_id, **fields)

    def weights(self, model: common.Model) -> dict[str, Any]:
        return safetensors.torch.load(self.blobs.get(model.files["model.safetensors"]))


def ref(blob: common.Blob) -> BlobRef:
    return BlobRef(blob.uri, blob.sha256, blob.size, blob.media_type)

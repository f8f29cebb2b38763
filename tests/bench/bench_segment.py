"""From the PNG of an image to the PNG of its instance map by a served HoVer-Net: seconds of a call, image and map inline.

python -m tests.bench.bench_segment [--model DIR] [--image FILE] [--views 1] [--calls 5]

DIR holds the model.safetensors, model.onnx and card.json that a run exports. Without one an untrained network of the `cpu`
profile is served, whose arithmetic is the same but whose post-processing has no nuclei to part. Without an image, tissue of
1000 x 1000 px is drawn.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

from nucleate.hovernet import profiles
from nucleate.hovernet.networks import model_file, onnx
from nucleate.hovernet.networks.hovernet import HoVerNet
from nucleate.hovernet.service.servicer import register
from nucleate.hovernet.service.settings import HoverNetSettings
from nucleate.pathology.images.codec import encode_png
from nucleate.runtime.blobs import Blobs
from nucleate.runtime.channels import connect, follow
from nucleate.runtime.server import start_server
from nucleate.synthesis.phantom.tissue import draw_tissue
from nucleate.v1 import common_pb2 as common
from nucleate.v1 import hovernet_pb2 as pb
from nucleate.v1 import hovernet_pb2_grpc as pb_grpc

CARD = "card.json"


def files_of(folder: Path | None) -> dict[str, bytes]:
    if folder:
        return {name: (folder / name).read_bytes() for name in (CARD, model_file.WEIGHTS, onnx.FILE)}
    net = HoVerNet(profiles.named("cpu").arch).eval()
    card, weights = model_file.pack(net, "cpu", dataset_digest="", parent="", metrics={})
    return {CARD: card, model_file.WEIGHTS: weights, onnx.FILE: onnx.export_network(net)}


def model_of(files: dict[str, bytes], blobs: Blobs) -> common.Model:
    stored = {name: blobs.put(data, "application/octet-stream") for name, data in files.items()}
    return common.Model(kind=model_file.KIND, card=stored.pop(CARD), files=stored)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path)
    parser.add_argument("--image", type=Path)
    parser.add_argument("--views", type=int, default=0, help="of test-time augmentation; 0 takes the profile's")
    parser.add_argument("--calls", type=int, default=5)
    given = parser.parse_args()
    png = given.image.read_bytes() if given.image else encode_png(draw_tissue(0, 1000)[0])
    with tempfile.TemporaryDirectory() as folder:
        settings = HoverNetSettings(store=Path(folder).as_uri(), device="cpu", log_level="error")
        server = start_server("hovernet", register, settings)
        try:
            with connect(server.endpoint) as channel:
                stub = pb_grpc.HoverNetServiceStub(channel)
                model = model_of(files_of(given.model), Blobs(server.context.store))
                took, found = [], None
                for call in range(given.calls + 1):
                    request = pb.SegmentRequest(
                        job_id=f"call-{call}", images=[common.Image(id="image", inline=png)], model=model, views=given.views
                    )
                    began = time.perf_counter()
                    *_, last = follow(stub.Segment, request, timeout=600)
                    took.append(time.perf_counter() - began)
                    found = last.result.images[0]
        finally:
            server.stop()
    report = {"first_s": took[0], "median_s": statistics.median(took[1:]), "worst_s": max(took[1:]), "nuclei": found.nuclei}
    sys.stdout.write(json.dumps({key: round(value, 3) for key, value in report.items()}, indent=2) + "\n")


if __name__ == "__main__":
    main()

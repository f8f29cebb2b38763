"""Runs the refiner service: `python -m nucleate.refiner`."""

from __future__ import annotations

import cv2
import grpc
import torch

from nucleate.refiner.service.servicer import RefinerServicer
from nucleate.refiner.service.settings import RefinerSettings
from nucleate.runtime.server import ServiceContext, read_settings, serve
from nucleate.v1 import refiner_pb2_grpc


def main() -> None:
    """Serve until told to stop."""
    settings = read_settings("refiner", RefinerSettings)
    torch.set_num_threads(settings.workers)
    cv2.setNumThreads(settings.workers)

    def register(server: grpc.Server, context: ServiceContext) -> None:
        refiner_pb2_grpc.add_RefinerServiceServicer_to_server(RefinerServicer(context, settings), server)

    serve("refiner", settings, register)


if __name__ == "__main__":
    main()

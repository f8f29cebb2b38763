"""Runs the colour normalization service: `python -m nucleate.colornorm`."""

from __future__ import annotations

import cv2
import grpc
import torch

from nucleate.colornorm.service.servicer import ColorNormServicer
from nucleate.colornorm.service.settings import ColorNormSettings
from nucleate.runtime.server import ServiceContext, read_settings, serve
from nucleate.v1 import colornorm_pb2_grpc


def main() -> None:
    """Serve until told to stop."""
    settings = read_settings("colornorm", ColorNormSettings)
    torch.set_num_threads(settings.workers)
    cv2.setNumThreads(settings.workers)

    def register(server: grpc.Server, context: ServiceContext) -> None:
        colornorm_pb2_grpc.add_ColorNormServiceServicer_to_server(ColorNormServicer(context, settings), server)

    serve("colornorm", settings, register)


if __name__ == "__main__":
    main()

"""The HoVer-Net service's process."""

from __future__ import annotations

import cv2
import grpc
import torch

from nucleate.hovernet.servicer import HoverNetServicer
from nucleate.hovernet.settings import HoverNetSettings
from nucleate.runtime.server import ServiceContext, serve
from nucleate.v1 import hovernet_pb2_grpc


def main() -> None:
    """Serve until told to stop."""
    settings = HoverNetSettings()
    torch.set_num_threads(settings.compute_threads)
    cv2.setNumThreads(settings.compute_threads)

    def register(server: grpc.Server, context: ServiceContext) -> None:
        hovernet_pb2_grpc.add_HoverNetServiceServicer_to_server(HoverNetServicer(context), server)

    serve("hovernet", settings, register)


if __name__ == "__main__":
    main()

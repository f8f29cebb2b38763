"""The synthesis service's process."""

from __future__ import annotations

import cv2
import grpc

from nucleate.runtime.server import ServiceContext, serve
from nucleate.synthesis.servicer import SynthesisServicer
from nucleate.synthesis.settings import SynthesisSettings
from nucleate.v1 import synthesis_pb2_grpc


def main() -> None:
    """Serve until told to stop."""
    settings = SynthesisSettings()
    cv2.setNumThreads(1)  # one image per thread is faster than many threads per image

    def register(server: grpc.Server, context: ServiceContext) -> None:
        synthesis_pb2_grpc.add_SynthesisServiceServicer_to_server(SynthesisServicer(context, settings), server)

    serve("synthesis", settings, register)


if __name__ == "__main__":
    main()

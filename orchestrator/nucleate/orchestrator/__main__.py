"""Composition root: settings -> journal -> servicer -> serve."""

from __future__ import annotations

from contextlib import ExitStack

import grpc

from nucleate.orchestrator.loop.runs import Orchestrator
from nucleate.orchestrator.service.servicer import OrchestratorServicer
from nucleate.orchestrator.settings import OrchestratorSettings
from nucleate.runtime.server import ServiceContext, read_settings, serve
from nucleate.v1.orchestrator_pb2_grpc import add_OrchestratorServiceServicer_to_server


def main() -> None:
    """Serve until told to stop; runs in work are left so that the next start goes on with them."""
    settings = read_settings("orchestrator", OrchestratorSettings)
    with ExitStack() as stack:

        def register(server: grpc.Server, context: ServiceContext[OrchestratorSettings]) -> None:
            orchestrator = stack.enter_context(Orchestrator(context.blobs, settings))
            servicer = OrchestratorServicer(orchestrator)
            add_OrchestratorServiceServicer_to_server(servicer, server)

        serve("orchestrator", settings, register)


if __name__ == "__main__":
    main()

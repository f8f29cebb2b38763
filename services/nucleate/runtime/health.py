"""Which services a server offers, and whether they are ready."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection


class ServiceNameRecorder:
    """Stands in for the server while servicers are added, and keeps their services' names."""

    def __init__(self, server: grpc.Server) -> None:
        self._server: Any = server
        self.services: list[str] = []

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Iterable[Any]) -> None:
        """Hand the handlers through."""
        handlers = tuple(generic_rpc_handlers)
        self.services += [name for name in (handler.service_name() for handler in handlers) if name not in self.services]
        self._server.add_generic_rpc_handlers(handlers)

    def add_registered_method_handlers(self, service_name: str, method_handlers: Any) -> None:
        """Hand the handlers through."""
        self._server.add_registered_method_handlers(service_name, method_handlers)


class Health:
    """Standard health (Check and Watch) and reflection for the given services; NOT_SERVING at first."""

    def __init__(self, server: grpc.Server, services: list[str]) -> None:
        self._services = ["", *services]
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="health")
        self._servicer = health.HealthServicer(experimental_non_blocking=True, experimental_thread_pool=self._pool)
        self._set(health_pb2.HealthCheckResponse.NOT_SERVING)
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)
        reflection.enable_server_reflection((*services, health.SERVICE_NAME, reflection.SERVICE_NAME), server)

    def serving(self) -> None:
        """Say SERVING for every service, and for the server as a whole."""
        self._set(health_pb2.HealthCheckResponse.SERVING)

    def draining(self) -> None:
        """Say NOT_SERVING from now on."""
        self._servicer.enter_graceful_shutdown()

    def close(self) -> None:
        """End the thread that serves watchers."""
        self._pool.shutdown(wait=False)

    def _set(self, status: int) -> None:
        for service in self._services:
            self._servicer.set(service, status)

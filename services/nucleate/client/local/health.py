"""Asks a server whether it is serving, by the standard gRPC health protocol."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from nucleate.runtime.channels import connect


def serving(endpoint: str, timeout_s: float = 1.0) -> bool:
    """Tell whether the server at "host:port" answers SERVING within `timeout_s`."""
    # A channel of its own: a shared one would keep its back-off from the tries before the server listened.
    with connect(endpoint, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        factory: Callable[[grpc.Channel], Any] = health_pb2_grpc.HealthStub
        try:
            answer = factory(channel).Check(health_pb2.HealthCheckRequest(), timeout=timeout_s)
        except grpc.RpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

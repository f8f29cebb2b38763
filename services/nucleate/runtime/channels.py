"""The client's side: channels that retry, calls with deadlines, and errors as the server raised them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from nucleate.errors import Unreachable
from nucleate.runtime.error_table import rpc_error_to_domain
from nucleate.runtime.security import bearer, channel_credentials
from nucleate.runtime.settings import ChannelSettings

__all__ = ["CHANNEL_OPTIONS", "call", "connect", "follow", "rpc_error_to_domain", "wait_ready"]

T = TypeVar("T")

DEADLINE_SECONDS = 30.0
MAX_MESSAGE_BYTES = 4 * 1024 * 1024

# Every call is safe to repeat: jobs go by id, clicks by the session's version. A stream that has begun is not retried.
_SERVICE_CONFIG = json.dumps(
    {
        "loadBalancingConfig": [{"round_robin": {}}],
        "methodConfig": [
            {
                "name": [{}],
                "retryPolicy": {
                    "maxAttempts": 4,
                    "initialBackoff": "0.1s",
                    "maxBackoff": "2s",
                    "backoffMultiplier": 2,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            }
        ],
    }
)
Options = Sequence[tuple[str, Any]]
CHANNEL_OPTIONS: Options = (
    ("grpc.service_config", _SERVICE_CONFIG),
    ("grpc.enable_retries", 1),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.max_reconnect_backoff_ms", 5_000),
)


def connect(endpoint: str, settings: ChannelSettings | None = None, options: Options = ()) -> grpc.Channel:
    """Open a channel to "host:port" or "dns:///service:port"; close it after use, or use it in a `with` statement.

    TLS and token are those of the environment, or of `settings`. Raise `InvalidInput` if they cannot be used.
    """
    settings = settings or ChannelSettings()
    credentials, all_options = channel_credentials(settings), (*CHANNEL_OPTIONS, *options)
    secured = (
        grpc.secure_channel(endpoint, credentials, all_options) if credentials else grpc.insecure_channel(endpoint, all_options)
    )
    token = bearer(settings.token.get_secret_value())
    return grpc.intercept_channel(secured, _TokenInterceptor(token)) if token else secured


class _CallDetails(NamedTuple):
    """`grpc.ClientCallDetails` with its fields."""

    method: str
    timeout: float | None
    metadata: Sequence[tuple[str, str | bytes]] | None
    credentials: grpc.CallCredentials | None
    wait_for_ready: bool | None
    compression: grpc.Compression | None


class _TokenInterceptor(
    grpc.UnaryUnaryClientInterceptor,  # type: ignore[type-arg] # generic in its stub only
    grpc.UnaryStreamClientInterceptor,  # type: ignore[type-arg]
    grpc.StreamUnaryClientInterceptor,  # type: ignore[type-arg]
    grpc.StreamStreamClientInterceptor,  # type: ignore[type-arg]
):
    """Adds the token to every call. gRPC's own call credentials refuse channels in plain text, such as a mesh secures."""

    def __init__(self, token: tuple[tuple[str, str], ...]) -> None:
        self._token = token

    def _call(self, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
        metadata = (*(details.metadata or ()), *self._token)
        fields = details.timeout, metadata, details.credentials, details.wait_for_ready, details.compression
        return continuation(_CallDetails(details.method, *fields), request)

    intercept_unary_unary: Any = _call
    intercept_unary_stream: Any = _call
    intercept_stream_unary: Any = _call
    intercept_stream_stream: Any = _call


def call(method: Callable[..., T], request: Any, timeout: float | None = DEADLINE_SECONDS) -> T:
    """Make a unary call within `timeout` seconds; raise the domain error the server raised, or `Unreachable`."""
    try:
        return method(request, timeout=timeout)
    except grpc.RpcError as error:
        raise rpc_error_to_domain(error) from None


def follow(method: Callable[..., Any], request: Any, timeout: float | None = None) -> Iterator[Any]:
    """Yield the messages of a streaming call; raise domain errors. Dropping the iterator ends the call, not the job."""
    stream = method(request, timeout=timeout)
    try:
        yield from stream
    except grpc.RpcError as error:
        raise rpc_error_to_domain(error) from None
    finally:
        stream.cancel()


def wait_ready(channel: grpc.Channel, service: str = "", timeout: float = DEADLINE_SECONDS) -> None:
    """Wait until the server says SERVING for `service` ("" for all of it); raise `Unreachable` if it does not in time."""
    request = health_pb2.HealthCheckRequest(service=service)
    try:
        for answer in health_pb2_grpc.HealthStub(channel).Watch(request, timeout=timeout, wait_for_ready=True):
            if answer.status == health_pb2.HealthCheckResponse.SERVING:
                return
    except grpc.RpcError:
        pass
    raise Unreachable(f"{service or 'the server'} was not ready within {timeout:g} s: is it running?")

"""TLS and the shared token: the server's certificate, the caller's trust, and who may call."""

from __future__ import annotations

import hmac
import ipaddress
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import grpc
import structlog

from nucleate.errors import InvalidInput, Unauthenticated
from nucleate.runtime.error_table import ERROR_KEY, TABLE
from nucleate.runtime.settings import ChannelSettings, ServiceSettings

HEADER: Final = "authorization"
_HEALTH: Final = "/grpc.health.v1.Health/"


def channel_credentials(settings: ChannelSettings) -> grpc.ChannelCredentials | None:
    """Return what a channel checks the server by; None = plain text.

    Raises:
        InvalidInput: the authority's file cannot be read or holds no certificate.
    """
    if settings.tls_ca is None:
        return grpc.ssl_channel_credentials() if settings.tls else None
    authority = _read(settings.tls_ca, "NUCLEATE_TLS_CA")
    try:
        ssl.create_default_context(cadata=authority.decode())
    except (ssl.SSLError, ValueError):
        raise InvalidInput(f"NUCLEATE_TLS_CA {settings.tls_ca} holds no certificate: give a PEM file") from None
    return grpc.ssl_channel_credentials(authority)


def server_credentials(settings: ServiceSettings) -> grpc.ServerCredentials | None:
    """Return what a server shows to its callers; None = plain text.

    Raises:
        InvalidInput: one of certificate and key is missing, unreadable or damaged, or they do not belong together.
    """
    cert, key = settings.tls_cert, settings.tls_key
    if cert is None and key is None:
        return None
    if cert is None or key is None:
        raise InvalidInput("NUCLEATE_TLS_CERT and NUCLEATE_TLS_KEY belong together: set both or neither")
    pair = _read(key, "NUCLEATE_TLS_KEY"), _read(cert, "NUCLEATE_TLS_CERT")
    try:  # looked at first, because gRPC reports a bad pair as a port that cannot be used
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, password=lambda: "")
    except (ssl.SSLError, ValueError):
        message = f"NUCLEATE_TLS_CERT {cert} and NUCLEATE_TLS_KEY {key} are not a certificate and its unencrypted key in PEM"
        raise InvalidInput(message) from None
    return grpc.ssl_server_credentials([pair])


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    """Return the metadata that carries a token; none for an empty one.

    Raises:
        InvalidInput: it cannot travel in a header.
    """
    if not all("!" <= character <= "~" for character in token):
        raise InvalidInput("the token (NUCLEATE_TOKEN) has blanks or other characters outside ASCII: choose another")
    return ((HEADER, f"Bearer {token}"),) if token else ()


def warn_if_open(service: str, settings: ServiceSettings) -> None:
    """Log a warning if other machines can call a service that asks for no token."""
    if not settings.token.get_secret_value() and not _is_loopback(settings.host):
        _log = structlog.get_logger()
        _log.warning(
            "open_to_anyone", service=service, host=settings.host, fix="set NUCLEATE_TOKEN, or NUCLEATE_HOST=127.0.0.1"
        )


class Authentication(grpc.ServerInterceptor):  # type: ignore[type-arg] # generic in its stub only
    """Refuses calls without the shared token. Health answers anybody; everything else, reflection included, does not."""

    def __init__(self, token: str) -> None:
        self._expected = [value.encode() for _, value in bearer(token)]

    def intercept_service(self, continuation: Callable[[Any], Any], handler_call_details: Any) -> Any:
        """Let the call through, or put a refusal in its place."""
        handler = continuation(handler_call_details)
        if handler is None or not self._expected or handler_call_details.method.startswith(_HEALTH):
            return handler
        sent = [value for name, value in handler_call_details.invocation_metadata if name == HEADER]
        if len(sent) == 1 and hmac.compare_digest(_bytes(sent[0]), self._expected[0]):
            return handler
        # A stream handler refuses calls of any kind, and without waiting for their first message.
        return grpc.stream_stream_rpc_method_handler(_refuse_unknown_token if sent else _refuse_missing_token)


def _refuse_missing_token(_requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
    return _refuse(context, "this service asks for a token: set NUCLEATE_TOKEN, or give the client token=")


def _refuse_unknown_token(_requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
    return _refuse(context, "this service does not know that token: compare NUCLEATE_TOKEN on both sides")


def _refuse(context: grpc.ServicerContext, message: str) -> Iterator[bytes]:
    context.set_trailing_metadata(((ERROR_KEY, Unauthenticated.__name__),))
    context.abort(TABLE[Unauthenticated][0], message)


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode()


def _read(path: Path, variable: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as failure:
        raise InvalidInput(f"{variable} {path} cannot be read: {failure.strerror}") from None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

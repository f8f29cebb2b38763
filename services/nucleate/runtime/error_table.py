"""The one table between domain errors, gRPC status codes and exit codes, read in both directions."""

from __future__ import annotations

import uuid
from typing import Any, Final

import grpc
import structlog

from nucleate import errors

Code = grpc.StatusCode
ERROR_KEY: Final = "nucleate-error"  # trailing metadata: the error's class name, so that a client gets the same class back
RETRY_KEY: Final = "retry-after-ms"  # trailing metadata of `Overloaded`: when the call is worth making again

# Direct subclasses of NucleateError; a subclass of these takes its parent's row.
TABLE: Final[dict[type[errors.NucleateError], tuple[grpc.StatusCode, int]]] = {
    errors.InvalidInput: (Code.INVALID_ARGUMENT, 2),
    errors.NotFound: (Code.NOT_FOUND, 3),
    errors.Conflict: (Code.ALREADY_EXISTS, 4),
    errors.Precondition: (Code.FAILED_PRECONDITION, 5),
    errors.Unreachable: (Code.UNAVAILABLE, 6),
    errors.Aborted: (Code.ABORTED, 7),
    errors.Fenced: (Code.PERMISSION_DENIED, 8),
    errors.CorruptBlob: (Code.DATA_LOSS, 9),
    errors.TooLarge: (Code.RESOURCE_EXHAUSTED, 10),
    errors.Cancelled: (Code.CANCELLED, 11),
    errors.Unauthenticated: (Code.UNAUTHENTICATED, 12),
}
_BY_CODE: Final = {code: domain for domain, (code, _) in TABLE.items()}
# What gRPC says of connections that no retry mends, and what to do about each.
_HANDSHAKE_FAULTS: Final = {
    "CERTIFICATE_VERIFY_FAILED": "no known authority signed its certificate: set NUCLEATE_TLS_CA, or give the client ca=",
    "Hostname Verification": "its certificate is for another host name: call it by a name that is in the certificate",
    "WRONG_VERSION_NUMBER": "it does not speak TLS: give it a certificate, or call it without NUCLEATE_TLS_CA (ca=, tls=)",
}


class Internal(Exception):
    """A fault of ours: the caller sees a reference, the log has the traceback."""

    def __init__(self, reference: str) -> None:
        super().__init__(f"internal error, reference {reference}: look for it in the service's log")


def internal(error: BaseException, **where: str) -> Internal:
    """Log `error` with its traceback under a new reference, and return what the caller may see of it."""
    reference = uuid.uuid4().hex[:12]
    structlog.get_logger().error("internal_error", reference=reference, exc_info=error, **where)
    return Internal(reference)


def status_of(error: BaseException) -> tuple[grpc.StatusCode, str]:
    """Return code and public message; anything that is not a domain error is logged and hidden."""
    row = _row(error)
    if row:
        return row[0], str(error)
    return Code.INTERNAL, str(error if isinstance(error, Internal) else internal(error))


def exit_code(error: BaseException) -> int:
    """Return the exit code of a process that ends with `error`: 1 for what is not a domain error."""
    row = _row(error)
    return row[1] if row else 1


def error_named(name: str, message: str) -> errors.NucleateError | None:
    """Return the domain error of that class name, or None if there is no such class."""
    classes: list[type[errors.NucleateError]] = [errors.NucleateError]
    for domain in classes:
        if domain.__name__ == name:
            return domain.__new__(domain, message)
        classes += domain.__subclasses__()
    return None


def trailing_metadata_of(error: BaseException) -> tuple[tuple[str, str], ...]:
    """Return the trailing metadata that tells a client what `error` was."""
    named = ((ERROR_KEY, type(error).__name__),)
    return (*named, (RETRY_KEY, str(round(1000 * error.retry_after)))) if isinstance(error, errors.Overloaded) else named


def rpc_error_to_domain(error: grpc.RpcError) -> errors.NucleateError:
    """Return the domain error a server's status stands for, of the class it was raised with where that is known."""
    if not isinstance(error, (grpc.Call, grpc.aio.AioRpcError)):
        return errors.NucleateError(str(error) or "the service failed")
    metadata: Any = error.trailing_metadata() or ()
    trailing: dict[str, Any] = dict(metadata)
    after = str(trailing.get(RETRY_KEY, ""))
    return error_from_status(
        error.code(), error.details() or "", str(trailing.get(ERROR_KEY, "")), int(after) if after.isdecimal() else 0
    )


def error_from_status(code: grpc.StatusCode, message: str, name: str = "", retry_after_ms: int = 0) -> errors.NucleateError:
    """Return the domain error for a server's status: its class by `name`, or else by the code."""
    error = (error_named(name, message) if name else None) or _error_by_code(code, message)
    if isinstance(error, errors.Overloaded) and retry_after_ms:
        error.retry_after = retry_after_ms / 1000
    return error


def _error_by_code(code: grpc.StatusCode, details: str) -> errors.NucleateError:
    if code is Code.UNAVAILABLE:
        if fault := next((words for sign, words in _HANDSHAKE_FAULTS.items() if sign in details), ""):
            return errors.Precondition(f"the service was found, but {fault}")
        if "last error" in details and ("Socket closed" in details or "Connection reset" in details):
            return errors.Unreachable(
                f"the service hangs up at once: if it speaks TLS, set NUCLEATE_TLS_CA, or give the client ca= ({details})"
            )
    if code is Code.DEADLINE_EXCEEDED:
        return errors.Unreachable(f"the service did not answer in time ({details}); is it overloaded?")
    if code is Code.UNIMPLEMENTED:
        return errors.Precondition(f"the service does not offer this call ({details}); is it another version?")
    return _BY_CODE.get(code, errors.NucleateError)(details or f"the service failed with {code.name}")


def _row(error: BaseException) -> tuple[grpc.StatusCode, int] | None:
    return next((row for domain, row in TABLE.items() if isinstance(error, domain)), None)

"""The one table between domain errors, gRPC status codes and exit codes, read in both directions."""

from __future__ import annotations

import uuid
from typing import Any, Final

import grpc
import structlog

from nucleate import errors

Code = grpc.StatusCode
ERROR_KEY: Final = "nucleate-error"  # trailing metadata: the error's class name, so that a client gets the same class back

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
}
_BY_CODE: Final = {code: domain for domain, (code, _) in TABLE.items()}


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


def rpc_error_to_domain(error: grpc.RpcError) -> errors.NucleateError:
    """Return the domain error a server's status stands for, of the class it was raised with where that is known."""
    code = error.code() if isinstance(error, grpc.Call) else Code.UNKNOWN
    details = (error.details() or "") if isinstance(error, grpc.Call) else str(error)
    trailing: Any = (error.trailing_metadata() or ()) if isinstance(error, grpc.Call) else ()
    name = dict(trailing).get(ERROR_KEY)
    named = error_named(name, details) if name else None
    if named:
        return named
    if code is Code.DEADLINE_EXCEEDED:
        return errors.Unreachable(f"the service did not answer in time ({details}); is it overloaded?")
    if code is Code.UNIMPLEMENTED:
        return errors.Precondition(f"the service does not offer this call ({details}); is it another version?")
    return _BY_CODE.get(code, errors.NucleateError)(details or f"the service failed with {code.name}")


def _row(error: BaseException) -> tuple[grpc.StatusCode, int] | None:
    return next((row for domain, row in TABLE.items() if isinstance(error, domain)), None)

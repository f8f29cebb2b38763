"""Exit codes, and errors as one line on stderr."""

from __future__ import annotations

import os
import sys
import traceback

from nucleate.errors import Cancelled, InvalidInput, NucleateError, Precondition, TooLarge, Unreachable

OK, FAILED, USAGE, WAITING, UNREACHABLE, PRECONDITION, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130

EPILOG = (
    "Exit codes: 0 ok, 1 failed, 2 wrong usage or bad input files, 3 waiting for annotation, 4 a service or the store cannot "
    "be reached, 5 the system is not in the state the command needs, 130 interrupted. Results go to stdout, progress to stderr."
)
_CODES: tuple[tuple[type[NucleateError], int], ...] = (
    (InvalidInput, USAGE),
    (TooLarge, USAGE),
    (Unreachable, UNREACHABLE),
    (Precondition, PRECONDITION),
    (Cancelled, INTERRUPTED),
)


def exit_code_of(error: NucleateError) -> int:
    """Return the exit code that an error stands for."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), FAILED)


def print_error(error: BaseException) -> int:
    """Print one `error: …` line for what ended the command; return its exit code."""
    if isinstance(error, KeyboardInterrupt):
        return _print_error_line("interrupted", INTERRUPTED)
    if isinstance(error, NucleateError):
        return _print_error_line(str(error), exit_code_of(error))
    format_message = getattr(error, "format_message", None)  # typer's own: unknown option, missing argument, bad value
    if format_message is not None:
        return _print_error_line(f"{format_message()} Try --help.", USAGE)
    if os.environ.get("NUCLEATE_DEBUG"):
        traceback.print_exception(error)
    return _print_error_line(f"{type(error).__name__}: {error}; this is a defect: NUCLEATE_DEBUG=1 shows where", FAILED)


def _print_error_line(line: str, code: int) -> int:
    print("error: " + " ".join(line.split()), file=sys.stderr)
    return code

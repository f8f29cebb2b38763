"""The command `nucleate`: results on stdout, progress on stderr, exit codes as in `terminal.exit_codes`.

Every command imports what it needs when it runs, so that `nucleate --help` answers at once.
"""

from __future__ import annotations

import os
import signal
import sys
import warnings
from types import FrameType


def main() -> None:
    """Run the command line and exit with its code."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _raise_exit)
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command; return its exit code, with any error in one line on stderr."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its own log lines are not meant for users
    warnings.filterwarnings("ignore", module="PIL")  # of damaged files, which the error line names
    from nucleate.orchestrator.cli.command_tree import app
    from nucleate.orchestrator.cli.terminal.exit_codes import FAILED, INTERRUPTED, OK, print_error

    try:
        status = app(args=arguments, prog_name="nucleate", standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:  # `nucleate … | head`
        sys.stdout = None
        return FAILED
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the last stop: nothing ends in a traceback
        return print_error(error)
    if status == INTERRUPTED:  # typer turns Ctrl-C into this code
        return print_error(KeyboardInterrupt())
    return status if isinstance(status, int) else OK


def _raise_exit(number: int, _frame: FrameType | None) -> None:
    """End by an exception, so that processes the command started are stopped."""
    raise SystemExit(128 + number)

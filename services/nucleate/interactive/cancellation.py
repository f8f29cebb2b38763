"""How a caller who has gone stops the work for it: a check that is asked between pieces of work."""

from __future__ import annotations

from collections.abc import Callable

CancellationCheck = Callable[[], bool]  # True ends the work with `errors.Cancelled`


def never_cancelled() -> bool:
    """Check of calls that nobody cancels."""
    return False

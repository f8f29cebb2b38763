"""Which calls are retried, and when. Every call of a session is safe to repeat: it names its place in the session's log."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field

from nucleate.errors import NucleateError, Overloaded, Unreachable

UNREACHED_RETRY_S = 5.0
_MIN_BACKOFF_S, _MAX_BACKOFF_S = 0.05, 2.0


@dataclass
class Reachability:
    """Whether a service has ever answered: a wrong address shall not be tried for long."""

    reached: bool = False


@dataclass
class RetrySchedule:
    """The attempts at one call, made for `retry_s` seconds; the last of them may take until `deadline_s`."""

    reachability: Reachability
    retry_s: float
    deadline_s: float
    _began: float = field(default_factory=time.monotonic)
    _failed: int = 0

    @property
    def remaining_s(self) -> float:
        """Seconds left: the deadline of the attempt that begins now."""
        return max(self.deadline_s - (time.monotonic() - self._began), 0.001)

    def backoff_s(self, error: NucleateError) -> float:
        """Return how long to wait before the next attempt; raise `error` if there shall be none."""
        self.reachability.reached = self.reachability.reached or not isinstance(error, Unreachable)
        if isinstance(error, Overloaded):
            backoff = error.retry_after
        elif isinstance(error, Unreachable):
            backoff = min(_MIN_BACKOFF_S * 2**self._failed, _MAX_BACKOFF_S)
        else:
            raise error
        self._failed += 1
        backoff *= random.uniform(1.0, 1.25)  # many clients refused at once shall not come back at once
        retry_limit_s = self.retry_s if self.reachability.reached else min(self.retry_s, UNREACHED_RETRY_S)
        if time.monotonic() - self._began + backoff >= retry_limit_s:
            raise error
        return backoff

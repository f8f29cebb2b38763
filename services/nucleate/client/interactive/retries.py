"""What is worth repeating, and when. Every call of a session is safe to repeat: it names its place in the session's log."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field

from nucleate.errors import NucleateError, Overloaded, Unreachable

FIRST_PATIENCE_S = 5.0
_FIRST_DELAY_S, _LONGEST_DELAY_S = 0.05, 2.0


@dataclass
class Contact:
    """Whether a service has ever answered: a wrong address shall not be tried for long."""

    heard: bool = False


@dataclass
class Attempts:
    """The attempts at one call, made for `patience_s` seconds; the last of them may take until `deadline_s`."""

    contact: Contact
    patience_s: float
    deadline_s: float
    _began: float = field(default_factory=time.monotonic)
    _failed: int = 0

    @property
    def left_s(self) -> float:
        """Seconds left: the deadline of the attempt that begins now."""
        return max(self.deadline_s - (time.monotonic() - self._began), 0.001)

    def delay_s(self, error: NucleateError) -> float:
        """Return how long to wait before the next attempt; raise `error` if there shall be none."""
        self.contact.heard = self.contact.heard or not isinstance(error, Unreachable)
        if isinstance(error, Overloaded):
            wait = error.retry_after
        elif isinstance(error, Unreachable):
            wait = min(_FIRST_DELAY_S * 2**self._failed, _LONGEST_DELAY_S)
        else:
            raise error
        self._failed += 1
        wait *= random.uniform(1.0, 1.25)  # many clients refused at once shall not come back at once
        patience = self.patience_s if self.contact.heard else min(self.patience_s, FIRST_PATIENCE_S)
        if time.monotonic() - self._began + wait >= patience:
            raise error
        return wait

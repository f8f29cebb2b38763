"""Progress on stderr: a bar with the time left on a terminal, a plain line every few seconds elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import Protocol

from nucleate.orchestrator.cli.terminal.printing import duration, print_notice
from nucleate.v1.common_pb2 import Progress

PLAIN_SECONDS = 5.0


class ProgressDisplay(Protocol):
    """Where progress goes."""

    def update(self, progress: Progress) -> None:
        """Show where the work stands."""

    def note(self, line: str) -> None:
        """Print a line that stays."""


@contextlib.contextmanager
def progress_display() -> Iterator[ProgressDisplay]:
    """Give the display that fits stderr."""
    if not sys.stderr.isatty():
        yield PlainDisplay()
        return
    bars = BarDisplay()
    try:
        yield bars
    finally:
        bars.close()


class PlainDisplay:
    """One line when the stage changes, and every few seconds."""

    def __init__(self) -> None:
        self._stage, self._next = "", 0.0

    def update(self, progress: Progress) -> None:
        """Print a line if one is due."""
        now = time.monotonic()
        if progress.stage == self._stage and now < self._next:
            return
        self._stage, self._next = progress.stage, now + PLAIN_SECONDS
        print_notice(
            "  ".join(
                part for part in (progress.stage or "working", counted(progress), figures(progress), eta(progress)) if part
            )
        )

    def note(self, line: str) -> None:
        """Print the line."""
        print_notice(line)


class BarDisplay:
    """A rich bar that goes away when done."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bars

        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(24),
            TextColumn("{task.fields[text]}", markup=False),
        )
        self._bars = Bars(*columns, TimeElapsedColumn(), console=Console(stderr=True, highlight=False), transient=True)
        self._task = self._bars.add_task("starting", total=None, text="")
        self._bars.start()

    def update(self, progress: Progress) -> None:
        """Move the bar."""
        text = "  ".join(part for part in (counted(progress), figures(progress), eta(progress)) if part)
        self._bars.update(
            self._task,
            description=progress.stage or "working",
            total=progress.total or None,
            completed=progress.step,
            text=text,
        )

    def note(self, line: str) -> None:
        """Print the line above the bar."""
        self._bars.console.print(line, markup=False)

    def close(self) -> None:
        """Take the bar away."""
        self._bars.stop()


def counted(progress: Progress) -> str:
    """Say "12/400"; nothing while the total is unknown."""
    return f"{progress.step}/{progress.total}" if progress.total else ""


def figures(progress: Progress) -> str:
    """Say the first figures, such as losses, by name."""
    return " ".join(f"{name}={value:.4g}" for name, value in sorted(progress.values.items())[:3])


def eta(progress: Progress) -> str:
    """Say the time left; nothing while unknown."""
    return f"ETA {duration(progress.eta_seconds)}" if progress.eta_seconds > 0 else ""

"""What only memory knows of the runs in work: the step, its latest progress, and how to make it stop."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Protocol

from nucleate.orchestrator.loop.journal import Interrupted
from nucleate.v1 import common_pb2


class Cancellable(Protocol):
    """A gRPC call in work."""

    def cancel(self) -> bool:
        """End it; its reader gets CANCELLED."""
        ...


class LiveRun:
    """One run in work. The workflow's thread writes, RPC threads read and interrupt."""

    def __init__(self) -> None:
        self.step = ""
        self.progress = common_pb2.Progress()
        self.waiting = False
        # Service and id of the job in work.
        self.job: tuple[str, str] | None = None
        self.left = threading.Event()
        self._wake = threading.Event()
        self._interrupted = threading.Event()
        self._call: Cancellable | None = None

    @contextlib.contextmanager
    def calling(self, call: Cancellable) -> Iterator[None]:
        """Let `interrupt` end this call."""
        self._call = call
        if self._interrupted.is_set():
            call.cancel()
        try:
            yield
        finally:
            self._call = None

    def check(self) -> None:
        """Raise `Interrupted` if the run is to stop."""
        if self._interrupted.is_set():
            raise Interrupted

    def pause(self, seconds: float) -> None:
        """Sleep until `wake`, at most so long; raise `Interrupted` if the run is to stop."""
        self._wake.wait(seconds)
        self._wake.clear()
        self.check()

    def wake(self) -> None:
        """End a `pause`: something the run waits for may have come."""
        self._wake.set()

    def interrupt(self) -> None:
        """Make the run's thread leave its step without recording it."""
        self._interrupted.set()
        self._wake.set()
        if (call := self._call) is not None:
            call.cancel()


class LiveRuns:
    """The runs in work in this process, by id."""

    def __init__(self) -> None:
        self._runs: dict[str, LiveRun] = {}
        self._lock = threading.Lock()
        self._closing = False

    @contextlib.contextmanager
    def entered(self, run_id: str) -> Iterator[LiveRun]:
        """Register a run for as long as its thread works on it."""
        run = LiveRun()
        with self._lock:
            self._runs[run_id] = run
            if self._closing:
                run.interrupt()
        try:
            yield run
        finally:
            with self._lock:
                if self._runs.get(run_id) is run:
                    del self._runs[run_id]
            run.left.set()

    def get(self, run_id: str) -> LiveRun | None:
        """The run if it is in work here."""
        return self._runs.get(run_id)

    def close(self, patience: float) -> None:
        """Interrupt every run and wait up to `patience` seconds for each to leave."""
        with self._lock:
            self._closing = True
            runs = list(self._runs.values())
        for run in runs:
            run.interrupt()
        for run in runs:
            run.left.wait(patience)

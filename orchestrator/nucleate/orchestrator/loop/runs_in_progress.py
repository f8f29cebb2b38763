"""State of the runs in progress that only memory holds: step, latest progress, and how to interrupt them."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Protocol

from nucleate.orchestrator.loop.journal import Interrupted
from nucleate.v1 import common_pb2


class Cancellable(Protocol):
    """A gRPC call in progress."""

    def cancel(self) -> bool:
        """End it; its reader gets CANCELLED."""
        ...


class RunInProgress:
    """One run in progress. The workflow's thread writes, RPC threads read and interrupt."""

    def __init__(self) -> None:
        self.step = ""
        self.progress = common_pb2.Progress()
        self.waiting = False
        # Service and id of the job that the step waits for.
        self.job: tuple[str, str] | None = None
        self.stopped = threading.Event()
        self._notified = threading.Event()
        self._interrupted = threading.Event()
        self._call: Cancellable | None = None

    @contextlib.contextmanager
    def interruptible(self, call: Cancellable) -> Iterator[None]:
        """Let `interrupt` end this call."""
        self._call = call
        if self._interrupted.is_set():
            call.cancel()
        try:
            yield
        finally:
            self._call = None

    def raise_if_interrupted(self) -> None:
        """Raise `Interrupted` if the run is to stop."""
        if self._interrupted.is_set():
            raise Interrupted

    def wait(self, seconds: float) -> None:
        """Sleep until `notify`, at most so long; raise `Interrupted` if the run is to stop."""
        self._notified.wait(seconds)
        self._notified.clear()
        self.raise_if_interrupted()

    def notify(self) -> None:
        """End a `wait`: something the run waits for may have come."""
        self._notified.set()

    def interrupt(self) -> None:
        """Make the run's thread end its step without recording it."""
        self._interrupted.set()
        self._notified.set()
        if (call := self._call) is not None:
            call.cancel()


class RunsInProgress:
    """The runs in progress in this process, by id."""

    def __init__(self) -> None:
        self._runs: dict[str, RunInProgress] = {}
        self._lock = threading.Lock()
        self._closing = False

    @contextlib.contextmanager
    def registered(self, run_id: str) -> Iterator[RunInProgress]:
        """Register a run for as long as its thread works on it."""
        run = RunInProgress()
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
            run.stopped.set()

    def get(self, run_id: str) -> RunInProgress | None:
        """The run if it is in progress here."""
        return self._runs.get(run_id)

    def close(self, timeout: float) -> None:
        """Interrupt every run and wait up to `timeout` seconds for each to stop."""
        with self._lock:
            self._closing = True
            runs = list(self._runs.values())
        for run in runs:
            run.interrupt()
        for run in runs:
            run.stopped.wait(timeout)

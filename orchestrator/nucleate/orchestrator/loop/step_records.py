"""Steps as they are journalled: a small JSON entry with the time spent; the result message lies in the object store."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, TypedDict, TypeVar

import structlog
from google.protobuf import json_format
from google.protobuf.message import Message

from nucleate.errors import Cancelled, NotFound, NucleateError, Unreachable
from nucleate.orchestrator.loop.journal import Journal
from nucleate.orchestrator.loop.runs_in_progress import RunInProgress
from nucleate.runtime.blobs import Blobs
from nucleate.v1 import common_pb2

M = TypeVar("M", bound=Message)
_log = structlog.get_logger(__name__)


class StepFailed(NucleateError):
    """A step of a run failed; the message begins with its name."""


class StepEntry(TypedDict):
    """What the journal keeps of a finished step: a reference to its result, seconds of its last attempt, and attempts begun."""

    result: dict[str, Any]
    seconds: float
    attempts: int


class StepRecorder:
    """Runs the steps of one run through the journal and adds up their seconds."""

    def __init__(self, run_id: str, journal: Journal, blobs: Blobs, run: RunInProgress) -> None:
        self.run_id = run_id
        self.run = run
        self.blobs = blobs
        self._journal = journal
        self._seconds: dict[str, float] = {}

    def step(self, name: str, kind: type[M], work: Callable[[str], M]) -> M:
        """Run `work` with the step's job id and record its message, or return the message recorded before."""
        entry = self._journal.step(name, lambda: self._execute(name, work))
        self._seconds[name] = entry["seconds"]
        return read_result(entry, kind, self.blobs)

    def seconds(self, prefix: str) -> float:
        """Seconds of the finished steps whose names begin so."""
        return sum(seconds for name, seconds in self._seconds.items() if name.startswith(prefix))

    def _execute(self, name: str, work: Callable[[str], M]) -> StepEntry:
        self.run.step, self.run.progress = name, common_pb2.Progress()
        self.run.raise_if_interrupted()
        began = time.monotonic()
        try:
            attempts = self._count_attempt(name)
            message = work(f"{self.run_id}.{name}")
            text = json_format.MessageToJson(message, indent=None, sort_keys=True)
            blob = self.blobs.put(text.encode(), "application/json")
        except Exception as error:
            raise StepFailed(f"{name}: {self._failure_message(name, error)}") from error
        seconds = time.monotonic() - began
        _log.info("step done", run=self.run_id, step=name, seconds=round(seconds, 3))
        return StepEntry(result=json_format.MessageToDict(blob), seconds=seconds, attempts=attempts)

    def _failure_message(self, name: str, error: Exception) -> str:
        """One public line on why a step failed and what to do; what nobody foresaw goes to the log whole."""
        if not isinstance(error, NucleateError):
            _log.exception("step failed unexpectedly", run=self.run_id, step=name)
            return "unexpected error; the orchestrator's log says more"
        line = "its job was cancelled" if isinstance(error, Cancelled) else str(error)
        _log.warning("step failed", run=self.run_id, step=name, error=line)
        if isinstance(error, Unreachable):
            line += f": run `nucleate up`, then `nucleate run resume {self.run_id}`"
        return line

    def _count_attempt(self, name: str) -> int:
        """Note that the step begins once more; only this process writes the count."""
        key = f"runs/{self.run_id}/attempts/{name}"
        try:
            before = int(self.blobs.store.get(key))
        except NotFound:
            before = 0
        self.blobs.store.put(key, str(before + 1).encode(), "text/plain")
        return before + 1


def read_result(entry: Mapping[str, Any], kind: type[M], blobs: Blobs) -> M:
    """The result message of a finished step."""
    blob = json_format.ParseDict(entry["result"], common_pb2.Blob())
    return json_format.Parse(blobs.get(blob), kind(), ignore_unknown_fields=True)

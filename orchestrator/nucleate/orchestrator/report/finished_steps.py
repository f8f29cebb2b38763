"""A run's results so far: those of its finished steps, from the journal and the object store."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from nucleate.orchestrator.loop.journal import JournalEntry
from nucleate.orchestrator.loop.step_records import M, read_result
from nucleate.runtime.blobs import Blobs
from nucleate.v1 import common_pb2, hovernet_pb2, interactive_pb2


class FinishedSteps:
    """Results of a run's finished steps by name, read on demand."""

    def __init__(self, entries: Sequence[JournalEntry], blobs: Blobs) -> None:
        self.blobs = blobs
        self.by_name = {e.name: e.result for e in entries if isinstance(e.result, dict) and "seconds" in e.result}
        self.rows = [e.result["row"] for e in entries if isinstance(e.result, dict) and "row" in e.result]

    def result(self, name: str, kind: type[M]) -> M | None:
        """The result of a step, or None if it is not finished."""
        return read_result(self.by_name[name], kind, self.blobs) if name in self.by_name else None

    def by_cycle(self, suffix: str, kind: type[M]) -> Iterator[tuple[int, M]]:
        """Results of the steps "cycle-K.SUFFIX" in order; `suffix` is a regular expression."""
        for name in self.by_name:
            if match := re.fullmatch(rf"cycle-(\d+)\.{suffix}", name):
                yield int(match[1]), read_result(self.by_name[name], kind, self.blobs)

    def models(self) -> dict[str, common_pb2.Model]:
        """The last trained model of each kind."""
        hovernet = [each for _, each in self.by_cycle("train-hovernet", hovernet_pb2.HoverNetServiceTrainResult)]
        interactive = [each for _, each in self.by_cycle("train-interactive", interactive_pb2.InteractiveServiceTrainResult)]
        pairs = (("hovernet", hovernet), ("interactive", interactive))
        return {kind: results[-1].model for kind, results in pairs if results}

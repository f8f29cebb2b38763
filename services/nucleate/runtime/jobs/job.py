"""The handle a job's work function gets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

from google.protobuf.message import Message

from nucleate.runtime.jobs.execution import Execution

M = TypeVar("M", bound=Message)
T = TypeVar("T")

CHECKPOINT_EVERY = 16  # items of a long list


class Job:
    """Progress, parts and checkpoints of one job, as its work function reports them."""

    def __init__(self, execution: Execution) -> None:
        self._execution = execution
        self.job_id = execution.record.job_id

    def progress(self, step: int, total: int, stage: str = "", **values: float) -> None:
        """Report step `step` of `total`; cheap enough for every step, since writing and streaming are throttled elsewhere.

        Raises:
            Cancelled: somebody cancelled the job. When the server is stopping, a `BaseException` ends the work instead.
        """
        self._execution.report(step, total, stage, values)
        self._execution.check()

    def part(self, message: Message) -> None:
        """Give watchers a part of the result as soon as there is one; the result still has to hold all of them."""
        self._execution.parts.append(message.SerializeToString())

    def checkpoint(self, data: bytes) -> None:
        """Replace the checkpoint, atomically; it goes when the job is done."""
        self._execution.record.write_checkpoint(data)

    def restored(self) -> bytes | None:
        """Return the latest checkpoint of an earlier attempt that was interrupted, cancelled or failed."""
        return self._execution.record.checkpoint() if self._execution.resumed else None

    def resumed(self, result_type: type[M]) -> M:
        """Return the result so far that an earlier attempt kept as its checkpoint, or an empty one."""
        return result_type.FromString(self.restored() or b"")

    def remaining(self, items: Sequence[T], done: int, result: Message) -> Iterator[T]:
        """Yield the items behind the first `done`; after every 16th of all, `result` so far is the checkpoint."""
        for count, item in enumerate(items[done:], start=done + 1):
            yield item
            if count % CHECKPOINT_EVERY == 0:
                self.checkpoint(result.SerializeToString())

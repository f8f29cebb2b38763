"""What an evaluation has come to so far, as a checkpoint and as the result."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from nucleate.annotator.bench.click_statistics import TARGETS, Figures, figures, percentiles, share, worsened
from nucleate.annotator.bench.clicked_nucleus import Attempt, from_lines, to_lines
from nucleate.runtime.blobs import Blobs
from nucleate.v1 import annotator_pb2 as pb

ROWS = "application/x-ndjson"


@dataclass
class Finished:
    """Attempts and patches that are done, and the seconds that opening their sessions took."""

    attempts: list[Attempt] = field(default_factory=list)
    patches: list[pb.PatchResult] = field(default_factory=list)
    opening_seconds: float = 0.0

    def to_bytes(self) -> bytes:
        """The checkpoint: the result so far, then the rows; deflated."""
        done = pb.BenchClicksResult(patches=self.patches, opening_seconds=self.opening_seconds).SerializeToString()
        return zlib.compress(len(done).to_bytes(8, "big") + done + to_lines(self.attempts), 1)

    @classmethod
    def from_bytes(cls, data: bytes | None) -> Finished:
        """Read `to_bytes` back; nothing is finished where there is no checkpoint."""
        if data is None:
            return cls()
        plain = zlib.decompress(data)
        rows = 8 + int.from_bytes(plain[:8], "big")
        done = pb.BenchClicksResult.FromString(plain[8:rows])
        return cls(from_lines(plain[rows:]), list(done.patches), done.opening_seconds)

    def so_far(self, most: int) -> dict[str, float]:
        """The figures that progress shows."""
        if not self.attempts:
            return {}
        count = len(self.attempts)
        clicks = sum(attempt.clicks_to(TARGETS[0]) or most for attempt in self.attempts)
        return {"iou1": sum(attempt.iou[0] for attempt in self.attempts) / count, "noc80": clicks / count}


def summary(finished: Finished, request: pb.BenchClicksRequest, left_out: int, blobs: Blobs) -> pb.BenchClicksResult:
    """The result message; the rows go to the store."""
    attempts = finished.attempts
    found = figures(attempts, request.most_clicks, request.seed)
    evaluations = list(itertools.chain.from_iterable(attempt.evaluations for attempt in attempts))
    return pb.BenchClicksResult(
        n=len(attempts),
        iou=found.iou.tolist(),
        iou_intervals=[pb.Interval(low=low, high=high) for low, high in found.iou_interval.tolist()],
        noc=_numbers_of_clicks(found),
        honoured=share([attempt.honoured for attempt in attempts]),
        honoured_by_network=share([attempt.honoured_by_network for attempt in attempts]),
        milliseconds=_percentiles([attempt.milliseconds for attempt in attempts]),
        call_milliseconds=_percentiles([attempt.call_milliseconds for attempt in attempts]),
        evaluations=sum(evaluations) / max(len(evaluations), 1),
        worsened=worsened(attempts),
        patches=finished.patches,
        rows=blobs.put(to_lines(attempts), ROWS),
        left_out=left_out,
        opening_seconds=finished.opening_seconds,
    )


def _numbers_of_clicks(found: Figures) -> list[pb.NumberOfClicks]:
    columns = zip(TARGETS, found.noc.tolist(), found.noc_interval.tolist(), found.failures.tolist(), strict=True)
    return [
        pb.NumberOfClicks(target_iou=target, mean=mean, low=low, high=high, failures=failures)
        for target, mean, (low, high), failures in columns
    ]


def _percentiles(times: Sequence[Sequence[float]]) -> pb.Percentiles:
    p50, p90, p99 = percentiles(list(itertools.chain.from_iterable(times)))
    return pb.Percentiles(p50=p50, p90=p90, p99=p99)

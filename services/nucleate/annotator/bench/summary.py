"""The state of an evaluation by clicks, as a checkpoint and as the result."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from nucleate.annotator.bench.click_statistics import (
    TARGETS,
    ClickStatistics,
    click_statistics,
    honoured_share,
    percentiles,
    worsened_share,
)
from nucleate.annotator.bench.clicked_nucleus import NucleusRecord, from_lines, to_lines
from nucleate.runtime.blobs import Blobs
from nucleate.v1 import annotator_pb2 as pb

ROWS = "application/x-ndjson"


@dataclass
class BenchState:
    """Records of clicked nuclei and results of patches that are done, and the seconds that opening their sessions took."""

    records: list[NucleusRecord] = field(default_factory=list)
    patches: list[pb.PatchResult] = field(default_factory=list)
    opening_seconds: float = 0.0

    def to_bytes(self) -> bytes:
        """The checkpoint: the result so far, then the rows; deflated."""
        done = pb.BenchClicksResult(patches=self.patches, opening_seconds=self.opening_seconds).SerializeToString()
        return zlib.compress(len(done).to_bytes(8, "big") + done + to_lines(self.records), 1)

    @classmethod
    def from_bytes(cls, data: bytes | None) -> BenchState:
        """Read `to_bytes` back; nothing is finished where there is no checkpoint."""
        if data is None:
            return cls()
        plain = zlib.decompress(data)
        rows = 8 + int.from_bytes(plain[:8], "big")
        done = pb.BenchClicksResult.FromString(plain[8:rows])
        return cls(from_lines(plain[rows:]), list(done.patches), done.opening_seconds)

    def running_means(self, max_clicks: int) -> dict[str, float]:
        """The means that progress shows."""
        if not self.records:
            return {}
        count = len(self.records)
        clicks = sum(record.clicks_to(TARGETS[0]) or max_clicks for record in self.records)
        return {"iou1": sum(record.iou[0] for record in self.records) / count, "noc80": clicks / count}


def summary(state: BenchState, request: pb.BenchClicksRequest, left_out: int, blobs: Blobs) -> pb.BenchClicksResult:
    """The result message; the rows go to the store."""
    records = state.records
    found = click_statistics(records, request.most_clicks, request.seed)
    evaluations = list(itertools.chain.from_iterable(record.evaluations for record in records))
    return pb.BenchClicksResult(
        n=len(records),
        iou=found.iou.tolist(),
        iou_intervals=[pb.Interval(low=low, high=high) for low, high in found.iou_interval.tolist()],
        noc=_numbers_of_clicks(found),
        honoured=honoured_share([record.honoured for record in records]),
        honoured_by_network=honoured_share([record.honoured_by_network for record in records]),
        milliseconds=_percentiles([record.milliseconds for record in records]),
        call_milliseconds=_percentiles([record.call_milliseconds for record in records]),
        evaluations=sum(evaluations) / max(len(evaluations), 1),
        worsened=worsened_share(records),
        patches=state.patches,
        rows=blobs.put(to_lines(records), ROWS),
        left_out=left_out,
        opening_seconds=state.opening_seconds,
    )


def _numbers_of_clicks(found: ClickStatistics) -> list[pb.NumberOfClicks]:
    columns = zip(TARGETS, found.noc.tolist(), found.noc_interval.tolist(), found.failures.tolist(), strict=True)
    return [
        pb.NumberOfClicks(target_iou=target, mean=mean, low=low, high=high, failures=failures)
        for target, mean, (low, high), failures in columns
    ]


def _percentiles(times: Sequence[Sequence[float]]) -> pb.Percentiles:
    p50, p90, p99 = percentiles(list(itertools.chain.from_iterable(times)))
    return pb.Percentiles(p50=p50, p90=p90, p99=p99)

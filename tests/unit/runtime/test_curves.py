"""What a job reports is on disk as TensorBoard events while it runs and after."""

from __future__ import annotations

import struct
from pathlib import Path

from tensorboardX.proto import event_pb2

from nucleate import errors
from nucleate.runtime.jobs import JobRunner
from nucleate.runtime.jobs.curves import CurveWriter
from nucleate.runtime.store.memory import MemoryStore
from nucleate.v1 import refiner_pb2 as pb


def events(folder: Path) -> list[event_pb2.Event]:
    """TFRecords: length, its checksum, the event, its checksum."""
    found = []
    for path in sorted(folder.iterdir()):
        data, at = path.read_bytes(), 0
        while at < len(data):
            (length,) = struct.unpack_from("<Q", data, at)
            found.append(event_pb2.Event.FromString(data[at + 12 : at + 12 + length]))
            at += length + 16
    return found


def test_a_job_leaves_a_point_per_step_and_takes_back_what_it_repeats(tmp_path: Path) -> None:
    store = MemoryStore()

    def work(job):
        first = int(job.restored() or b"0")
        for step in range(first + 1, 5):
            job.progress(step, 4, "training", loss=1.0 / step)
            job.checkpoint(b"2")
            if not first and step == 3:
                raise errors.Precondition("killed")
        return pb.RefinerServiceTrainResult()

    for _ in range(2):
        request = pb.RefinerServiceTrainRequest(job_id="a-job")
        try:
            list(JobRunner(store, "s", curves=CurveWriter(tmp_path)).stream(request, pb.RefinerServiceTrainResponse, work))
        except errors.Precondition:
            assert [e.step for e in events(tmp_path / "a-job") if e.summary.value] == [1, 2, 3]
    found = events(tmp_path / "a-job")
    points = [(e.step, e.summary.value[0].tag, round(e.summary.value[0].simple_value, 3)) for e in found if e.summary.value]
    assert points == [(s, "loss", round(1 / s, 3)) for s in (1, 2, 3, 3, 4)]
    assert 3 in [e.step for e in found if e.session_log.status == event_pb2.SessionLog.START]  # from here on the first is void

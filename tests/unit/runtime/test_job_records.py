"""Who owns a job, who may take it over, and what a watcher is told."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from nucleate import errors
from nucleate.runtime.jobs import Job, JobRunner
from nucleate.runtime.jobs.execution import Execution, Interrupted
from nucleate.runtime.jobs.owner import LEASE_SECONDS, Owner
from nucleate.runtime.jobs.record import JobRecord, request_digest
from nucleate.runtime.settings import ServiceSettings
from nucleate.runtime.store import MemoryStore
from nucleate.v1 import jobs_pb2
from nucleate.v1 import refiner_pb2 as pb

REQUEST = pb.RefinerServiceTrainRequest(job_id="job", seed=3)


def left_by(owner: Owner, *, heard_before: float) -> MemoryStore:
    """A store with a job that `owner` was running, last heard of `heard_before` seconds ago."""
    store = MemoryStore()
    record = JobRecord(store, "s", "job")
    record.claim(request_digest(REQUEST))
    assert record.claim_attempt(1, owner)
    record.write(1, jobs_pb2.GetJobResponse(state=jobs_pb2.JOB_STATE_RUNNING))
    state = json.loads(store.get("jobs/s/job/attempts/000001/state"))
    state["heard"] -= heard_before
    store.put("jobs/s/job/attempts/000001/state", json.dumps(state).encode())
    return store


def dead_process() -> Owner:
    code = """if True:
        import dataclasses, json
        from nucleate.runtime.jobs.owner import Owner
        print(json.dumps(dataclasses.asdict(Owner.this_process())))
    """
    return Owner(**json.loads(subprocess.check_output([sys.executable, "-c", code])))


ALIVE = Owner.this_process()
ELSEWHERE = dataclasses.replace(ALIVE, machine="another/pid:[1]", pid=1)
REUSED = dataclasses.replace(ALIVE, started="1")


def test_an_owner_lives_while_its_process_does_and_it_is_heard_of() -> None:
    assert ALIVE.alive(0)
    assert ELSEWHERE.alive(LEASE_SECONDS - 1)
    assert not ELSEWHERE.alive(LEASE_SECONDS + 1)
    assert not REUSED.alive(0)
    assert not dead_process().alive(0)


@pytest.mark.parametrize(
    ("owner", "silence", "state"), [(REUSED, 0, "INTERRUPTED"), (ELSEWHERE, 1, "RUNNING"), (ELSEWHERE, 60, "INTERRUPTED")]
)
def test_a_job_without_its_process_is_interrupted_and_taken_over(owner: Owner, silence: float, state: str) -> None:
    store = left_by(owner, heard_before=silence)
    runner = JobRunner(store, "s")
    assert runner.get("job").state == jobs_pb2.JobState.Value(f"JOB_STATE_{state}")
    JobRecord(store, "s", "job").write_checkpoint(b"2")
    restored: list[bytes | None] = []
    stream = runner.stream(
        REQUEST, pb.RefinerServiceTrainResponse, lambda job: restored.append(job.restored()) or pb.RefinerServiceTrainResult()
    )
    first = next(stream)
    assert first.progress.resumed
    if state == "RUNNING":
        stream.close()
        assert restored == []
    else:
        assert list(stream)[-1].HasField("result")
        assert restored == [b"2"]
        assert JobRecord(store, "s", "job").snapshot().attempt == 2


def test_one_attempt_has_one_owner() -> None:
    record = JobRecord(MemoryStore(), "s", "job")
    assert record.claim_attempt(1, ALIVE)
    assert not record.claim_attempt(1, ELSEWHERE)


def test_racing_replicas_run_each_job_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nucleate.runtime.jobs.runner.POLL_SECONDS", 0.01)
    store, ran = MemoryStore(), []
    replicas = [JobRunner(store, "s") for _ in range(4)]

    def follow(number: int) -> float:
        request = pb.RefinerServiceTrainRequest(job_id=f"job-{number // 4}", seed=1)

        def work(job: Job) -> pb.RefinerServiceTrainResult:
            ran.append(job.job_id)
            return pb.RefinerServiceTrainResult(metrics={"job": number // 4})

        *_, last = replicas[number % 4].stream(request, pb.RefinerServiceTrainResponse, work)
        return last.result.metrics["job"]

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(follow, range(48))) == [number // 4 for number in range(48)]
    assert sorted(ran) == sorted(f"job-{number}" for number in range(12))


def test_digest_tells_type_and_every_field_but_not_the_order_of_a_map() -> None:
    one = pb.RefinerServiceTrainResult(metrics={"a": 1.0, "b": 2.0})
    two = pb.RefinerServiceTrainResult(metrics={"b": 2.0, "a": 1.0})
    assert request_digest(one) == request_digest(two)
    assert request_digest(pb.RefineRequest()) != request_digest(pb.RefinerServiceTrainRequest())
    assert request_digest(pb.RefinerServiceTrainRequest(seed=1)) != request_digest(pb.RefinerServiceTrainRequest(seed=2))


def test_eta_comes_from_the_steps_of_this_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("nucleate.runtime.jobs.execution.time.monotonic", lambda: now[0])
    execution = Execution(JobRecord(MemoryStore(), "s", "job"), 1, resumed=True)
    execution.report(50, 100, "training", {})
    assert execution.view()[1].progress.eta_seconds == 0
    now[0] += 20
    execution.report(60, 100, "training", {"loss": 0.5})
    assert execution.view()[1].progress.eta_seconds == pytest.approx(80)
    execution.interrupted.set()
    with pytest.raises(Interrupted):
        execution.check()
    assert not issubclass(Interrupted, Exception)


def test_a_store_that_fails_does_not_end_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()

    def work(job):
        monkeypatch.setattr(store, "put", lambda *_: (_ for _ in ()).throw(errors.StoreUnreachable("store is gone")))
        return pb.RefinerServiceTrainResult(metrics={"done": 1})

    with pytest.raises(errors.StoreUnreachable):
        list(JobRunner(store, "s").stream(REQUEST, pb.RefinerServiceTrainResponse, work))
    monkeypatch.undo()
    (replayed,) = JobRunner(store, "s").stream(
        REQUEST, pb.RefinerServiceTrainResponse, lambda _job: pytest.fail("it ran again")
    )
    assert replayed.result.metrics == {"done": 1}


def test_settings_come_from_the_environment_and_hide_the_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUCLEATE_S3_SECRET_KEY", "hunter2")
    monkeypatch.setenv("NUCLEATE_PORT", "50051")
    settings = ServiceSettings()
    assert (settings.port, settings.s3_secret_key.get_secret_value()) == (50051, "hunter2")
    assert "hunter2" not in repr(settings) + str(settings.model_dump())
    monkeypatch.delenv("NUCLEATE_S3_SECRET_KEY")
    assert not ServiceSettings().s3_secret_key.get_secret_value()
    assert ServiceSettings().store.startswith("file:///")
    monkeypatch.setenv("NUCLEATE_PORT", "")
    assert ServiceSettings().port == 0
    monkeypatch.setenv("NUCLEATE_PORT", "hunter2")
    with pytest.raises(errors.InvalidInput, match=r"NUCLEATE_PORT: .* valid integer") as caught:
        ServiceSettings()
    assert "hunter2" not in str(caught.value)


def test_a_long_list_goes_on_behind_the_last_sixteen() -> None:
    runner, seen = JobRunner(MemoryStore(), "s"), []

    def work(job: Job) -> pb.RefineResult:
        result = job.resumed(pb.RefineResult)
        for item in job.remaining(range(40), len(result.samples), result):
            seen.append(item)
            if len(seen) == 36:
                raise errors.Aborted("cut off")
            result.samples.add(weight=item)
        return result

    with pytest.raises(errors.Aborted):
        list(runner.stream(REQUEST, pb.RefineResponse, work))
    *_, last = runner.stream(REQUEST, pb.RefineResponse, work)
    assert seen == [*range(36), *range(32, 40)]
    assert [sample.weight for sample in last.result.samples] == list(range(40))

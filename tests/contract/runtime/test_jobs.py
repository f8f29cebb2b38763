"""Jobs survive anything: watchers that leave, cancelling, failures, servers that stop, other replicas."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.contract.runtime.counting_service import REFINER, Client, eventually

from nucleate import errors


class TestJobs:
    def test_progress_then_result_then_replay(self, client: Client) -> None:
        *progress, last = client.train("once", 30)
        steps = [message.progress.step for message in progress]
        assert steps == sorted(steps)
        assert steps[-1] == progress[-1].progress.total == 30
        assert len(steps) < 15
        assert progress[-2].progress.eta_seconds > 0
        assert not progress[0].progress.resumed
        assert last.result.metrics == {"first": 0, "last": 30}
        assert list(client.train("once", 30)) == [last]
        assert client.servicer.runs == ["once"]
        assert client.state("once") == "DONE"
        assert not list(client.server.context.store.list("jobs/counting/once/checkpoint"))

    def test_many_watchers_of_one_job_and_one_that_leaves(self, client: Client) -> None:
        leaves = client.train("shared", 40)
        next(leaves)
        other = client.train("shared", 40)
        assert next(other).progress.resumed
        leaves.close()
        assert [message.result.metrics["last"] for message in other if message.HasField("result")] == [40]
        assert client.servicer.runs == ["shared"]

    def test_jobs_run_one_at_a_time(self, client: Client) -> None:
        streams = [client.train(f"queue-{n}", 5) for n in range(3)]
        assert [next(stream).progress.stage for stream in streams][1:] == ["waiting", "waiting"]
        assert [list(stream)[-1].HasField("result") for stream in streams] == [True] * 3
        assert client.servicer.most_active == 1

    def test_conflict_and_bad_ids(self, client: Client) -> None:
        list(client.train("taken", 1))
        with pytest.raises(errors.JobConflict, match="'taken' was started with another request"):
            list(client.train("taken", 2))
        for bad in ("", ".", "..", "../x", "a/b", "a b", "ä", "x" * 129):
            with pytest.raises(errors.InvalidInput):
                list(client.train(bad, 1))
            with pytest.raises(errors.InvalidInput):
                client.job(bad)

    def test_cancel(self, client: Client) -> None:
        stream, waiting = client.train("stop", 10_000), client.train("stop-too", 10_000)
        next(stream)
        next(waiting)
        assert client.cancel("stop-too") == "CANCELLED"
        assert client.cancel("stop") == "CANCELLED"
        for cancelled in (stream, waiting):
            with pytest.raises(errors.Cancelled):
                list(cancelled)
        assert (client.state("stop"), client.state("stop-too")) == ("CANCELLED", "CANCELLED")
        assert client.servicer.runs == ["stop"]
        with pytest.raises(errors.NotFound):
            client.cancel("nobody")
        list(client.train("over", 1))
        assert client.cancel("over") == "DONE"

    def test_failed_job_is_tried_again_from_its_checkpoint(self, client: Client) -> None:
        with pytest.raises(errors.InvalidDataset, match="dataset d: no samples"):
            list(client.train("flaky", 3, "fails once"))
        assert (client.state("flaky"), client.job("flaky").error) == ("FAILED", "dataset d: no samples")
        assert list(client.train("flaky", 3, "fails once"))[-1].result.metrics["first"] == 3
        assert client.state("flaky") == "DONE"

    def test_result_over_the_message_limit(self, client: Client) -> None:
        with pytest.raises(errors.TooLarge, match="ask for less"):
            list(client.train("huge", 1, "too large"))

    def test_watchers_that_leave_free_their_threads(self, client: Client) -> None:
        for _ in range(2):
            streams = [client.train("watched", 10_000) for _ in range(12)]
            for stream in streams:
                next(stream)
            with pytest.raises(errors.TooLarge, match="12 calls watch jobs"):
                next(client.train("watched", 10_000))
            assert client.state("watched") == "RUNNING"
            for stream in streams:
                stream.close()
            eventually(lambda: f'in_flight{{method="Train",service="{REFINER}"}} 0.0' in client.metrics())
        client.cancel("watched")


class TestInterruption:
    def test_drain_leaves_a_resumable_job(self, tmp_path: Path) -> None:
        first = Client(tmp_path)
        stream = first.train("long", 60)
        while next(stream).progress.step < 5:
            pass
        first.server.stop()
        with pytest.raises(errors.Unreachable, match="call again to go on with job 'long'"):
            list(stream)
        first.channel.close()
        second = Client(tmp_path)
        assert second.state("long") == "INTERRUPTED"
        messages = list(second.train("long", 60))
        assert messages[0].progress.resumed
        assert 5 <= messages[-1].result.metrics["first"] < 60
        second.stop()

    def test_cancel_of_an_interrupted_job(self, tmp_path: Path) -> None:
        first = Client(tmp_path)
        next(first.train("long", 10_000))
        first.stop()
        second = Client(tmp_path)
        assert second.cancel("long") == "CANCELLED"
        assert second.state("long") == "CANCELLED"
        second.stop()

    def test_two_replicas_run_a_job_once(self, tmp_path: Path) -> None:
        first, second = Client(tmp_path), Client(tmp_path)
        leading = first.train("both", 60)
        next(leading)
        watched = second.train("both", 60)
        assert next(watched).progress.resumed
        assert second.state("both") == "RUNNING"
        assert [message.result.metrics["last"] for message in watched if message.HasField("result")] == [60]
        assert (first.servicer.runs, second.servicer.runs) == (["both"], [])
        next(first.train("cancel", 10_000))
        assert second.cancel("cancel") == "RUNNING"
        eventually(lambda: second.state("cancel") == "CANCELLED")
        for client in (first, second):
            client.stop()

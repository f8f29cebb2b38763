"""The stream of clicks, cancelled calls, and what a busy service says."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from tests.contract.interactive_bench import click, click_request

from nucleate import errors
from nucleate.interactive.prediction.predictor import Predictor
from nucleate.runtime.channels import call
from nucleate.runtime.error_table import rpc_error_to_domain
from nucleate.v1 import interactive_pb2 as pb

NONE = pb.Refinement(method=pb.REFINEMENT_METHOD_NONE)
SLOW = pb.Refinement(method=pb.REFINEMENT_METHOD_FBRS_B, most_evaluations=60, spend_all=True)


def slowly(method: Callable[..., Any]) -> Callable[..., Any]:
    """The method, a fifth of a second later."""

    def slow(*arguments: Any, **named: Any) -> Any:
        time.sleep(0.2)
        return method(*arguments, **named)

    return slow


class Stream:
    """One open stream: send, then read the answer."""

    def __init__(self, stub: Any) -> None:
        self._requests: queue.Queue[pb.InteractRequest | None] = queue.Queue()
        self.answers = stub.Interact(self._messages(), timeout=60)

    def _messages(self) -> Iterator[pb.InteractRequest]:
        while (request := self._requests.get()) is not None:
            yield request

    def send(self, request_id: int, **what: Any) -> None:
        self._requests.put(pb.InteractRequest(request_id=request_id, **what))

    def ask(self, request_id: int, **what: Any) -> pb.InteractResponse:
        self.send(request_id, **what)
        return next(self.answers)

    def end(self) -> list[pb.InteractResponse]:
        self._requests.put(None)
        return list(self.answers)


class TestInteract:
    def test_every_call_in_order_and_errors_in_between(self, bench):
        opening, stream = bench.opening(), Stream(bench.stubs[0])
        name = opening.session_id
        calls = [
            {"open": opening},
            {"click": click_request(name, 1, 40, 40)},
            {"click": click_request(name, 2, 2, 2)},
            {"accept": pb.AcceptRequest(session_id=name, sequence=2)},
            {"click_many": pb.ClickManyRequest(session_id=name, sequence=3, clicks=[click(80, 80)])},
            {"propose": pb.ProposeRequest(session_id=name, sequence=4, classical=pb.ClassicalProposals())},
            {"undo": pb.UndoRequest(session_id=name, sequence=5)},
            {"redo": pb.RedoRequest(session_id=name, sequence=6)},
            {"select": pb.SelectObjectRequest(session_id=name, sequence=7, object_id=1)},
            {"delete": pb.DeleteObjectRequest(session_id=name, sequence=8, object_id=1)},
            {"click": click_request("nobody", 1, 40, 40)},
            {},
        ]
        for number, what in enumerate(calls, 100):
            stream.send(number, **what)
        answers = stream.end()
        assert [answer.request_id for answer in answers] == list(range(100, 112))
        kinds = [answer.WhichOneof("answer") for answer in answers]
        names = [
            "open",
            "click",
            "error",
            "accept",
            "click_many",
            "propose",
            "undo",
            "redo",
            "select",
            "delete",
            "error",
            "error",
        ]
        assert kinds == names
        refused, unknown, empty = answers[2].error, answers[10].error, answers[11].error
        assert (refused.code, refused.name, refused.retry_after) == (
            grpc.StatusCode.INVALID_ARGUMENT.value[0],
            "InvalidInput",
            0,
        )
        assert "outside the window" in refused.message
        assert (unknown.code, unknown.name) == (grpc.StatusCode.NOT_FOUND.value[0], "NotFound")
        assert empty.name == "InvalidInput"
        assert answers[9].delete.sequence == bench.session(name, 1).sequence == 9

    def test_a_fault_of_ours_is_hidden_and_the_stream_goes_on(self, bench, monkeypatch):
        name, stream = bench.open().session_id, Stream(bench.stubs[0])

        def broken(*_: object) -> None:
            raise ValueError("hunter2")

        monkeypatch.setattr("nucleate.interactive.sessions.calls.predict_click", broken)
        error = stream.ask(1, click=click_request(name, 1, 40, 40)).error
        assert (error.code, error.name) == (grpc.StatusCode.INTERNAL.value[0], "")
        assert "hunter2" not in error.message
        monkeypatch.undo()
        assert stream.ask(2, click=click_request(name, 1, 40, 40)).click.sequence == 2
        assert stream.end() == []

    def test_streams_are_limited_and_a_closed_one_makes_room(self, bench):
        with bench.replica(most_streams=1) as stub:
            name = bench.open().session_id
            first = Stream(stub)
            first.ask(1, click=click_request(name, 1, 40, 40))
            with pytest.raises(grpc.RpcError) as refusal:
                Stream(stub).ask(1, click=click_request(name, 2, 44, 40))
            error = rpc_error_to_domain(refusal.value)
            assert isinstance(error, errors.Overloaded)
            assert error.retry_after > 0
            assert first.end() == []
            second = Stream(stub)
            assert second.ask(1, click=click_request(name, 2, 44, 40)).click.sequence == 3
            second.answers.cancel()
            for _ in range(100):  # the place of a caller that has gone is free as soon as the server has noticed
                with contextlib.suppress(grpc.RpcError):
                    assert Stream(stub).ask(1, undo=pb.UndoRequest(session_id=name, sequence=3)).undo.sequence == 4
                    break
                time.sleep(0.05)
            assert bench.session(name).sequence == 4


class TestCancelled:
    def test_a_cancelled_click_stops_and_writes_nothing(self, bench):
        name = bench.open(refinement=SLOW).session_id
        for make in (self.unary, self.streamed):
            make(bench.stubs[0], name)
            assert bench.session(name).sequence == 1
        assert call(bench.stubs[0].Click, click_request(name, 1, 40, 40)).optimizer_evaluations >= 20

    @staticmethod
    def unary(stub: Any, name: str) -> None:
        under_way = stub.Click.future(click_request(name, 1, 40, 40))
        time.sleep(0.1)
        assert under_way.cancel()

    @staticmethod
    def streamed(stub: Any, name: str) -> None:
        stream = Stream(stub)
        stream.send(1, click=click_request(name, 1, 40, 40))
        time.sleep(0.1)
        stream.answers.cancel()


class TestLoad:
    def test_beyond_the_line_calls_are_refused_with_a_hint_and_all_come_through_in_the_end(self, bench, monkeypatch):
        monkeypatch.setattr(Predictor, "predict", slowly(Predictor.predict))
        names = [bench.open(refinement=NONE).session_id for _ in range(6)]
        refused: list[errors.Overloaded] = []
        with bench.replica(compute=1, most_waiting=1) as stub:

            def work(name: str) -> pb.ClickResponse:
                while True:
                    try:
                        return call(stub.Click, click_request(name, 1, 40, 40))
                    except errors.Overloaded as error:
                        refused.append(error)
                        time.sleep(min(error.retry_after, 0.2))

            with ThreadPoolExecutor(6) as pool:
                answers = list(pool.map(work, names))
        assert refused
        assert all(error.retry_after > 0 for error in refused)
        assert len({answer.mask.SerializeToString() for answer in answers}) == 1
        assert max(answer.spent.waiting for answer in answers) > 0

    def test_a_stream_tells_when_to_try_again(self, bench, monkeypatch):
        predict, begun, go_on = Predictor.predict, threading.Event(), threading.Event()

        def held(*arguments: Any, **named: Any) -> Any:
            begun.set()
            go_on.wait(20)
            return predict(*arguments, **named)

        names = [bench.open(refinement=NONE).session_id for _ in range(2)]
        with bench.replica(compute=1, most_waiting=0) as stub:
            for name in names:
                call(stub.GetSession, pb.GetSessionRequest(session_id=name))
            monkeypatch.setattr(Predictor, "predict", held)
            under_way = stub.Click.future(click_request(names[0], 1, 40, 40))
            assert begun.wait(20)
            stream = Stream(stub)
            error = stream.ask(1, click=click_request(names[1], 1, 40, 40)).error
            go_on.set()
            assert (error.code, error.name) == (grpc.StatusCode.RESOURCE_EXHAUSTED.value[0], "Overloaded")
            assert error.retry_after > 0
            assert under_way.result(20).sequence == 2
            assert stream.ask(2, click=click_request(names[1], 1, 40, 40)).click.sequence == 2
            stream.end()

    def test_figures_for_the_operator(self, bench):
        name = bench.open().session_id
        call(bench.stubs[0].Click, click_request(name, 1, 40, 40))
        with urllib.request.urlopen(f"http://127.0.0.1:{bench.servers[0].metrics_port}/metrics", timeout=5) as answer:
            text = answer.read().decode()
        figures = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        assert float(figures["nucleate_clicks_total"]) >= 1
        assert float(figures["nucleate_clicks_not_honoured_total"]) == 0
        assert float(figures["nucleate_click_evaluations_count"]) >= 1
        for work in ("waiting", "encoding", "refining", "finishing", "storing"):
            assert float(figures[f'nucleate_click_milliseconds_count{{work="{work}"}}']) >= 1
        assert float(figures["nucleate_interactive_live_sessions"]) >= 1
        assert float(figures["nucleate_interactive_live_bytes"]) > 0
        assert {"nucleate_interactive_waiting", "nucleate_interactive_streams"} <= set(figures)

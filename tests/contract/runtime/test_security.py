"""TLS and the shared token: who gets in, what everybody else is told, and that the token stays secret."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from tests.certificates import Pair, self_signed

from nucleate import errors
from nucleate.client.local.health import serving
from nucleate.client.service_calls import ServiceClient
from nucleate.runtime.channels import call, connect, follow, wait_ready
from nucleate.runtime.security import warn_if_open
from nucleate.runtime.server import RunningServer, ServiceSettings, start_server
from nucleate.runtime.settings import ChannelSettings
from nucleate.v1 import interactive_pb2 as pb
from nucleate.v1 import interactive_pb2_grpc as pb_grpc

TOKEN = "open-sesame-7f3a"


class Echo(pb_grpc.InteractiveServiceServicer):
    """One call of each kind."""

    def GetSession(self, request: pb.GetSessionRequest, context: Any) -> pb.GetSessionResponse:
        return pb.GetSessionResponse(session=pb.Session(session_id=request.session_id))

    def Train(self, request: pb.InteractiveServiceTrainRequest, context: Any) -> Iterator[pb.InteractiveServiceTrainResponse]:
        yield pb.InteractiveServiceTrainResponse()

    def PutImage(self, requests: Iterator[pb.PutImageRequest], context: Any) -> pb.PutImageResponse:
        return pb.PutImageResponse(height=len(list(requests)))

    def Interact(self, requests: Iterator[pb.InteractRequest], context: Any) -> Iterator[pb.InteractResponse]:
        for request in requests:
            yield pb.InteractResponse(request_id=request.request_id)


@contextmanager
def echo(store: Path, **settings: Any) -> Iterator[RunningServer]:
    def register(server: grpc.Server, _context: Any) -> None:
        pb_grpc.add_InteractiveServiceServicer_to_server(Echo(), server)

    server = start_server("echo", register, ServiceSettings(store=store.as_uri(), drain_seconds=1, **settings))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return self_signed(tmp_path_factory.mktemp("certificates"))


def each_kind(channel: grpc.Channel) -> list[Callable[[], Any]]:
    stub = pb_grpc.InteractiveServiceStub(channel)
    return [
        lambda: call(stub.GetSession, pb.GetSessionRequest(session_id="x")).session.session_id,
        lambda: len(list(follow(stub.Train, pb.InteractiveServiceTrainRequest()))),
        lambda: call(stub.PutImage, iter([pb.PutImageRequest()] * 2)).height,
        lambda: [answer.request_id for answer in follow(stub.Interact, iter([pb.InteractRequest(request_id=7)]))],
    ]


def assert_told(server: RunningServer, settings: ChannelSettings, error: type[Exception], words: str) -> None:
    with connect(server.endpoint, settings) as channel, pytest.raises(error, match=words):
        each_kind(channel)[0]()


def reflect(channel: grpc.Channel) -> int:
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    return len(next(stub.ServerReflectionInfo(iter([request]))).list_services_response.service)


class TestToken:
    def test_opens_calls_of_every_kind_and_reflection(self, tmp_path: Path):
        with echo(tmp_path, token=TOKEN) as server, connect(server.endpoint, ChannelSettings(token=TOKEN)) as channel:
            assert [make() for make in each_kind(channel)] == ["x", 1, 2, [7]]
            assert reflect(channel) > 2

    @pytest.mark.parametrize(("shown", "told"), [("", "asks for a token"), ("open-sesame-7f3b", "does not know that token")])
    def test_without_it_every_call_but_health_is_refused(self, tmp_path: Path, shown: str, told: str):
        settings = ChannelSettings(token=shown)
        with (
            structlog.testing.capture_logs() as lines,
            echo(tmp_path, token=TOKEN) as server,
            connect(server.endpoint, settings) as channel,
        ):
            for make in each_kind(channel):
                with pytest.raises(errors.Unauthenticated, match=told) as caught:
                    make()
                assert TOKEN not in str(caught.value)
            with pytest.raises(grpc.RpcError, match="UNAUTHENTICATED"):
                reflect(channel)
            wait_ready(channel, timeout=5)
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        refused = [line for line in lines if line["event"] == "rpc"]
        assert [line["code"] for line in refused] == ["UNAUTHENTICATED"] * 4
        assert TOKEN not in str(lines)

    def test_is_taken_from_the_environment_on_both_sides(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setenv("NUCLEATE_TOKEN", TOKEN)
        with echo(tmp_path) as server, connect(server.endpoint) as channel:
            assert each_kind(channel)[0]() == "x"
            monkeypatch.setenv("NUCLEATE_TOKEN", "another")
            with connect(server.endpoint) as other, pytest.raises(errors.Unauthenticated):
                each_kind(other)[0]()

    def test_is_shown_nowhere(self):
        settings = ServiceSettings(token=TOKEN)
        assert TOKEN not in repr(settings) + str(settings.model_dump()) + settings.model_dump_json()

    @pytest.mark.parametrize("bad", ["two words", "line\nbreak", "käse"])
    def test_that_cannot_travel_is_refused_at_once(self, tmp_path: Path, bad: str):
        with pytest.raises(errors.InvalidInput, match="NUCLEATE_TOKEN") as caught:
            connect("127.0.0.1:1", ChannelSettings(token=bad))
        assert bad not in str(caught.value)
        with pytest.raises(errors.InvalidInput, match="NUCLEATE_TOKEN"), echo(tmp_path, token=bad):
            pass

    @pytest.mark.parametrize(
        ("host", "token", "warnings"),
        [
            ("0.0.0.0", "", 1),
            ("::", "", 1),
            ("10.1.2.3", "", 1),
            ("0.0.0.0", TOKEN, 0),
            ("127.0.0.1", "", 0),
            ("localhost", "", 0),
        ],
    )
    def test_a_server_open_to_other_machines_is_warned_of(self, host: str, token: str, warnings: int):
        with structlog.testing.capture_logs() as lines:
            warn_if_open("echo", ServiceSettings(host=host, token=token))
        assert [line["log_level"] for line in lines] == ["warning"] * warnings


class TestTls:
    def test_with_a_token(self, tmp_path: Path, pair: Pair):
        with echo(tmp_path, tls_cert=pair.cert, tls_key=pair.key, token=TOKEN) as server:
            with connect(server.endpoint, ChannelSettings(tls_ca=pair.cert, token=TOKEN)) as channel:
                assert [make() for make in each_kind(channel)] == ["x", 1, 2, [7]]
            with connect(server.endpoint, ChannelSettings(tls_ca=pair.cert)) as channel, pytest.raises(errors.Unauthenticated):
                each_kind(channel)[0]()

    def test_services_find_each_other_by_the_environment(self, tmp_path: Path, pair: Pair, monkeypatch: pytest.MonkeyPatch):
        with echo(tmp_path, tls_cert=pair.cert, tls_key=pair.key) as server:
            assert not serving(server.endpoint)
            monkeypatch.setenv("NUCLEATE_TLS_CA", str(pair.cert))
            assert serving(server.endpoint)
            with connect(server.endpoint) as channel:
                assert each_kind(channel)[0]() == "x"

    def test_a_caller_in_plain_text_is_told_of_tls(self, tmp_path: Path, pair: Pair):
        with echo(tmp_path, tls_cert=pair.cert, tls_key=pair.key) as server:
            assert_told(server, ChannelSettings(), errors.Unreachable, "if it speaks TLS, set NUCLEATE_TLS_CA")

    def test_a_caller_by_tls_is_told_of_plain_text(self, tmp_path: Path, pair: Pair):
        with echo(tmp_path) as server:
            assert_told(server, ChannelSettings(tls_ca=pair.cert), errors.Precondition, "does not speak TLS")

    def test_an_unknown_authority_or_another_name_is_refused(self, tmp_path: Path, pair: Pair):
        other = self_signed(tmp_path, "elsewhere", "DNS:elsewhere.example")
        with echo(tmp_path, tls_cert=pair.cert, tls_key=pair.key) as server:
            for settings in (ChannelSettings(tls_ca=other.cert), ChannelSettings(tls=True)):
                assert_told(server, settings, errors.Precondition, "no known authority signed its certificate")
        with echo(tmp_path, tls_cert=other.cert, tls_key=other.key) as server:
            assert_told(server, ChannelSettings(tls_ca=other.cert), errors.Precondition, "another host name")

    def test_the_command_line_says_what_is_wrong(self, tmp_path: Path, pair: Pair, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setenv("NUCLEATE_TLS_CA", str(pair.cert))
        with echo(tmp_path) as server:
            remote = ServiceClient("interactive", server.endpoint, pb_grpc.InteractiveServiceStub)
            with pytest.raises(errors.Precondition, match="does not speak TLS"):
                remote.call(remote.stub.GetSession, pb.GetSessionRequest())
            remote.close()

    def test_bad_files_are_named(self, tmp_path: Path, pair: Pair):
        other, garbage = self_signed(tmp_path, "other"), tmp_path / "garbage.pem"
        garbage.write_text("nonsense")
        for cert, key, told in (
            (pair.cert, None, "belong together"),
            (None, pair.key, "belong together"),
            (pair.cert, other.key, "not a certificate and its unencrypted key"),
            (garbage, garbage, "not a certificate and its unencrypted key"),
            (tmp_path / "none.crt", pair.key, "NUCLEATE_TLS_CERT .*none.crt cannot be read: No such file"),
        ):
            with pytest.raises(errors.InvalidInput, match=told), echo(tmp_path, tls_cert=cert, tls_key=key):
                pass
        for authority, told in ((garbage, "holds no certificate"), (tmp_path, "cannot be read: Is a directory")):
            with pytest.raises(errors.InvalidInput, match=told):
                connect("127.0.0.1:1", ChannelSettings(tls_ca=authority))


def test_settings_that_cannot_be_read_end_a_service_with_one_line(tmp_path: Path):
    environment = os.environ | {"NUCLEATE_PORT": "abc", "NUCLEATE_STORE": tmp_path.as_uri()}
    command = [sys.executable, "-m", "nucleate.synthesis"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert "NUCLEATE_PORT: Input should be a valid integer" in done.stderr

"""What every server promises: health, reflection, metrics and the error table."""

from __future__ import annotations

import threading
from pathlib import Path

import grpc
import pytest
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from tests.contract.runtime.counting_service import REFINER, Client, eventually

from nucleate import errors
from nucleate.runtime.channels import call, follow, wait_ready
from nucleate.v1 import interactive_pb2 as ipb
from nucleate.v1 import refiner_pb2 as pb


class TestServer:
    def test_health_of_every_service(self, client: Client) -> None:
        stub = health_pb2_grpc.HealthStub(client.channel)
        for service in ("", REFINER, "nucleate.v1.JobsService"):
            assert stub.Check(health_pb2.HealthCheckRequest(service=service)).status == health_pb2.HealthCheckResponse.SERVING
            wait_ready(client.channel, service, timeout=5)
        with pytest.raises(grpc.RpcError, match="NOT_FOUND"):
            stub.Check(health_pb2.HealthCheckRequest(service="nobody"))
        watch = stub.Watch(health_pb2.HealthCheckRequest(service=REFINER))
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        threading.Thread(target=client.server.stop).start()
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING

    def test_reflection_lists_the_services(self, client: Client) -> None:
        stub = reflection_pb2_grpc.ServerReflectionStub(client.channel)
        answer = next(stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")])))
        names = {service.name for service in answer.list_services_response.service}
        assert {REFINER, "nucleate.v1.JobsService", "grpc.health.v1.Health"} <= names

    def test_metrics_and_log_line_of_every_call(self, client: Client) -> None:
        with structlog.testing.capture_logs() as lines:
            list(client.train("metrics", 2))
            with pytest.raises(errors.NotFound):
                client.job("nobody")
            eventually(lambda: len([line for line in lines if line["event"] == "rpc"]) == 2)
        train, get_job = (line for line in lines if line["event"] == "rpc")
        assert (train["service"], train["method"], train["code"], train["job_id"]) == (REFINER, "Train", "OK", "metrics")
        assert get_job["code"] == "NOT_FOUND"
        text = client.metrics()
        assert f'nucleate_rpc_total{{code="OK",method="Train",service="{REFINER}"}} 1.0' in text
        assert f'nucleate_rpc_in_flight{{method="Train",service="{REFINER}"}} 0.0' in text
        assert 'nucleate_jobs_total{event="done",service="counting"} 1.0' in text
        assert 'nucleate_jobs_running{service="counting"} 0.0' in text

    def test_a_message_over_4_mib_is_refused(self, client: Client) -> None:
        with pytest.raises(errors.TooLarge):
            list(client.train("x" * (4 * 1024 * 1024 + 1), 1))


ALL_ERRORS = sorted(
    name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, errors.NucleateError)
)


class TestErrors:
    @pytest.mark.parametrize("name", [name for name in ALL_ERRORS if name != "NucleateError"])
    def test_domain_errors_cross_the_wire(self, client: Client, name: str) -> None:
        wanted = "unknown profile 'x': choose one of a, b" if name == "UnknownProfile" else f"public line of {name}"
        for make in (
            lambda: client.interactive.GetSession(ipb.GetSessionRequest(session_id=name), timeout=10),
            lambda: list(client.refiner.Refine(pb.RefineRequest(job_id=name), timeout=10)),
        ):
            with pytest.raises(errors.NucleateError) as caught:
                call(lambda _request, timeout, make=make: make(), None)
            assert (type(caught.value).__name__, str(caught.value)) == (name, wanted)

    def test_other_errors_show_a_reference_only(self, client: Client) -> None:
        with structlog.testing.capture_logs() as lines:
            for make in (
                lambda: call(client.interactive.GetSession, ipb.GetSessionRequest(session_id="RuntimeError")),
                lambda: list(follow(client.refiner.Refine, pb.RefineRequest(job_id="RuntimeError"))),
                lambda: list(client.train("crash", 1, "crashes")),
            ):
                with pytest.raises(errors.NucleateError, match="internal error, reference") as caught:
                    make()
                assert "secret" not in str(caught.value)
                (logged,) = [line for line in lines if line.get("reference", "-") in str(caught.value)]
                assert "secret-7f3a" in str(logged["exc_info"])
        assert "secret" not in client.job("crash").error

    def test_a_server_that_is_gone(self, tmp_path: Path) -> None:
        client = Client(tmp_path)
        client.server.stop()
        with pytest.raises(errors.Unreachable):
            client.job("x")
        with pytest.raises(errors.Unreachable, match="not ready within"):
            wait_ready(client.channel, timeout=0.2)
        client.channel.close()

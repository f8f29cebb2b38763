"""A gRPC server with health, reflection, jobs, metrics, and an orderly end."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, cast

import grpc
import structlog

from nucleate.errors import Precondition
from nucleate.runtime.blobs import Blobs
from nucleate.runtime.health import Health, ServiceNameRecorder
from nucleate.runtime.interceptor import CallInterceptor
from nucleate.runtime.jobs import JobRunner, JobsServicer
from nucleate.runtime.jobs.curves import CurveWriter
from nucleate.runtime.process_lifecycle import read_settings, serve_until_stopped
from nucleate.runtime.security import Authentication, server_credentials, warn_if_open
from nucleate.runtime.service_context import ServiceContext
from nucleate.runtime.settings import ServiceSettings
from nucleate.runtime.store import open_store
from nucleate.runtime.telemetry import Metrics
from nucleate.v1 import jobs_pb2_grpc

__all__ = [
    "MAX_MESSAGE_BYTES",
    "RunningServer",
    "ServiceContext",
    "ServiceSettings",
    "read_settings",
    "run_service",
    "serve",
    "start_server",
]

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
OPTIONS: Sequence[tuple[str, int]] = (
    ("grpc.so_reuseport", 0),  # otherwise a second server on the port is silently given half of the calls
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
)

S = TypeVar("S", bound=ServiceSettings)
Register = Callable[[grpc.Server, ServiceContext[S]], None]


class RunningServer:
    """A server that answers at `endpoint` ("host:port"), with metrics on `metrics_port`."""

    def __init__(
        self, server: grpc.Server, port: int, context: ServiceContext[ServiceSettings], health: Health, metrics: Metrics
    ) -> None:
        settings = context.settings
        self.port = port
        self.endpoint = _address(settings.host, port)
        self.context = context
        self._server = server
        self._health = health
        self.metrics_port, self._stop_metrics = metrics.expose(settings.host, settings.metrics_port)
        server.start()
        health.serving()

    def stop(self) -> bool:
        """Say NOT_SERVING, interrupt the jobs, give calls in progress `drain_seconds` to finish. False: a job would not end."""
        drain = self.context.settings.drain_seconds
        self._health.draining()
        stopped = self._server.stop(drain)
        ended = self.context.jobs.drain(drain)
        stopped.wait()
        self._health.close()
        self._stop_metrics()
        return ended


def start_server(name: str, register: Register[S], settings: S) -> RunningServer:
    """Start without blocking: `register(server, context)` adds the servicers; `nucleate.v1.JobsService` is always added.

    Raises:
        Precondition: the port is taken.
        InvalidInput: certificate, key or token cannot be used.
        StoreUnreachable: the store cannot be opened.
    """
    metrics = Metrics(name)
    interceptors = [CallInterceptor(metrics), Authentication(settings.token.get_secret_value())]
    pool = ThreadPoolExecutor(settings.rpc_threads, thread_name_prefix=name)
    server = grpc.server(pool, interceptors=interceptors, options=OPTIONS, compression=grpc.Compression.NoCompression)
    port = _bind(server, settings)  # before anything slow happens
    warn_if_open(name, settings)
    store = open_store(settings.store, settings)
    curves = CurveWriter(settings.curves / name) if settings.curves else None
    jobs = JobRunner(store, name, metrics.job_event, curves)
    metrics.watch_running(jobs.running)
    context = ServiceContext(name, settings, store, Blobs(store), jobs, metrics.registry)
    recorder = ServiceNameRecorder(server)
    register(cast("grpc.Server", recorder), context)
    jobs_pb2_grpc.add_JobsServiceServicer_to_server(JobsServicer(jobs), recorder)
    running = RunningServer(server, port, context, Health(server, recorder.services), metrics)
    where = {"endpoint": running.endpoint, "metrics_port": running.metrics_port, "store": settings.store}
    structlog.get_logger().info("serving", service=name, **where)
    return running


def run_service(name: str, kind: Callable[[], S], register: Register[S], *pools: Callable[[int], object]) -> None:
    """Be a service's process: settings from the environment, compute threads given to each of `pools`, and `serve`."""
    settings = read_settings(name, kind)
    for limit in pools:
        limit(settings.compute_threads)
    serve(name, settings, register)


def serve(name: str, settings: S, register: Register[S]) -> None:
    """Serve until SIGTERM or SIGINT, then drain; the whole of a service's process.

    Takes `--port-file PATH` from the command line (or NUCLEATE_PORT_FILE): the bound port is written there once serving.
    A domain error at the start ends the process with one line and that error's exit code.
    """
    serve_until_stopped(name, settings, lambda: start_server(name, register, settings))


def _bind(server: grpc.Server, settings: ServiceSettings) -> int:
    host, port, credentials = settings.host, settings.port, server_credentials(settings)
    try:
        if port:  # looked at first, because gRPC reports a port that is taken on stderr in its own words
            with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET):
                pass
        address = _address(host, port)
        return server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    except (OSError, RuntimeError):
        message = f"port {_address(host, port)} cannot be used: stop what listens there, or set NUCLEATE_PORT to another"
        raise Precondition(message) from None


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

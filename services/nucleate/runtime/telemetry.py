"""Logs and metrics: one line and one observation per call."""

from __future__ import annotations

import logging
import socket
import sys
import threading
from collections.abc import Callable
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, make_wsgi_app
from prometheus_client.process_collector import ProcessCollector

from nucleate.errors import Precondition

# From a click on a prefetched object to hours of training.
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)


def configure_logging(level: str = "info", *, json: bool = True) -> None:
    """Send this process's log to stderr, as JSON lines or, for people, as coloured text."""
    # Tracebacks without local variables: those hold pixels and, at worst, secrets.
    traceback = structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False))
    as_json: list[structlog.typing.Processor] = [traceback, structlog.processors.JSONRenderer()]
    as_text = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *(as_json if json else [as_text]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,
    )


class Metrics:
    """The figures of one server, in a registry of its own: several servers may share a process."""

    def __init__(self, service: str) -> None:
        self.registry = CollectorRegistry()
        self.calls = Counter("nucleate_rpc", "Calls by status code", ("service", "method", "code"), registry=self.registry)
        self.seconds = Histogram(
            "nucleate_rpc_seconds", "Time per call", ("service", "method"), buckets=SECONDS, registry=self.registry
        )
        self.in_flight = Gauge("nucleate_rpc_in_flight", "Calls being served", ("service", "method"), registry=self.registry)
        self._jobs = Counter("nucleate_jobs", "Jobs by event", ("service", "event"), registry=self.registry)
        self._running = Gauge("nucleate_jobs_running", "Jobs that run or wait", ("service",), registry=self.registry)
        self._service = service
        ProcessCollector(registry=self.registry)

    def job_event(self, event: str) -> None:
        """Count "started", "done", "failed", "cancelled" or "interrupted"."""
        self._jobs.labels(self._service, event).inc()

    def watch_running(self, running: Callable[[], int]) -> None:
        """Read the number of live jobs whenever the metrics are read."""
        self._running.labels(self._service).set_function(running)

    def expose(self, host: str, port: int) -> tuple[int, Callable[[], None]]:
        """Serve the metrics over HTTP; return the port and a function that stops it. Raise `Precondition` if it is taken."""
        try:
            kind = _ThreadingServerIPv6 if ":" in host else _ThreadingServer
            server = make_server(host, port, make_wsgi_app(self.registry), kind, handler_class=_QuietHandler)
        except OSError as error:
            raise Precondition(f"metrics port {host}:{port} cannot be used: {error.strerror}; choose another") from None
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="metrics", daemon=True)
        thread.start()

        def stop() -> None:
            server.shutdown()
            server.server_close()
            thread.join()

        return server.server_port, stop


class _ThreadingServer(ThreadingMixIn, WSGIServer):
    """One thread per reader, and no wait for readers at the end."""

    daemon_threads = True
    allow_reuse_address = True


class _ThreadingServerIPv6(_ThreadingServer):
    """The same on an IPv6 address."""

    address_family = socket.AF_INET6


class _QuietHandler(WSGIRequestHandler):
    """Every scrape would be a line on stderr."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Log nothing."""

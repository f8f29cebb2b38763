"""The interceptor of every call: the error table, one log line, one observation in the metrics."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import structlog

from nucleate.runtime.error_table import status_of, trailing_metadata_of
from nucleate.runtime.telemetry import Metrics

_log = structlog.get_logger()


@dataclass
class _Call:
    """One call in progress."""

    service: str
    method: str
    context: grpc.ServicerContext
    job_id: str = ""
    started: float = field(default_factory=time.perf_counter)


class CallInterceptor(grpc.ServerInterceptor):  # type: ignore[type-arg] # generic in its stub only
    """Maps domain errors to status codes, hides all others, logs and measures. Health and reflection pass untouched."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def intercept_service(self, continuation: Callable[[Any], Any], handler_call_details: Any) -> Any:
        """Wrap the handler of one call."""
        handler = continuation(handler_call_details)
        service, _, method = handler_call_details.method.lstrip("/").rpartition("/")
        if handler is None or service.startswith("grpc."):
            return handler
        make = {
            (False, False): grpc.unary_unary_rpc_method_handler,
            (False, True): grpc.unary_stream_rpc_method_handler,
            (True, False): grpc.stream_unary_rpc_method_handler,
            (True, True): grpc.stream_stream_rpc_method_handler,
        }[handler.request_streaming, handler.response_streaming]
        behaviour = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream

        def unary(request: Any, context: grpc.ServicerContext) -> Any:
            with self._observed(_Call(service, method, context, getattr(request, "job_id", "")[:128])):
                return behaviour(request, context)

        def stream(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            with self._observed(_Call(service, method, context, getattr(request, "job_id", "")[:128])):
                yield from behaviour(request, context)

        wrapped: Any = stream if handler.response_streaming else unary
        return make(wrapped, handler.request_deserializer, handler.response_serializer)

    @contextmanager
    def _observed(self, call: _Call) -> Iterator[None]:
        in_flight = self._metrics.in_flight.labels(call.service, call.method)
        in_flight.inc()
        code = grpc.StatusCode.OK
        try:
            yield
            code = _status_set_by_servicer(call.context) or code
        except GeneratorExit:  # the caller has gone
            code = grpc.StatusCode.CANCELLED
            raise
        except Exception as error:
            status = _status_set_by_servicer(call.context)
            if status:  # by the servicer itself
                code = status
                raise
            if type(error) is grpc.RpcError:  # so ends the reading of a stream whose caller has gone
                code = grpc.StatusCode.CANCELLED
                raise
            code, message = status_of(error)
            call.context.set_trailing_metadata(trailing_metadata_of(error))
            call.context.abort(code, message)
        finally:
            in_flight.dec()
            self._report(call, code)

    def _report(self, call: _Call, code: grpc.StatusCode) -> None:
        seconds = time.perf_counter() - call.started
        self._metrics.calls.labels(call.service, call.method, code.name).inc()
        self._metrics.seconds.labels(call.service, call.method).observe(seconds)
        job = {"job_id": call.job_id} if call.job_id else {}
        _log.info("rpc", service=call.service, method=call.method, code=code.name, ms=round(seconds * 1000, 2), **job)


def _status_set_by_servicer(context: grpc.ServicerContext) -> grpc.StatusCode | None:
    """Return the code a servicer set by hand, if it did."""
    code = context.code()  # type: ignore[attr-defined] # missing in its stub
    return code if isinstance(code, grpc.StatusCode) and code is not grpc.StatusCode.OK else None

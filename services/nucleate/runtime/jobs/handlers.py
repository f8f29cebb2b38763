"""RPCs that are jobs: a method says what a request asks for, all else is the same for every one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import wraps
from typing import Protocol, TypeVar

import grpc
from google.protobuf.message import Message

from nucleate.runtime.jobs.runner import JobRunner
from nucleate.runtime.jobs.worker import Work


class RunsJobs(Protocol):
    """A servicer whose long RPCs are jobs."""

    jobs: JobRunner


S = TypeVar("S", bound=RunsJobs)
Q = TypeVar("Q", bound=Message)
R = TypeVar("R", bound=Message)
Handler = Callable[[S, Q, grpc.ServicerContext], Iterator[R]]


def job_rpc(response_type: type[R]) -> Callable[[Callable[[S, Q], Work]], Handler[S, Q, R]]:
    """Make a streaming RPC of a method that checks a request and returns the work it asks for.

    What the method raises is refused before there is a job; see `JobRunner.stream` for the rest.
    """

    def decorate(asked_for: Callable[[S, Q], Work]) -> Handler[S, Q, R]:
        @wraps(asked_for)
        def handler(self: S, request: Q, context: grpc.ServicerContext) -> Iterator[R]:  # noqa: ARG001 - gRPC's signature
            return self.jobs.stream(request, response_type, asked_for(self, request))

        return handler

    return decorate

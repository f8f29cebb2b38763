"""The RPCs that look at a job and cancel it."""

from __future__ import annotations

import grpc

from nucleate.runtime.jobs.runner import JobRunner
from nucleate.v1 import jobs_pb2 as pb
from nucleate.v1 import jobs_pb2_grpc as pb_grpc


class JobsServicer(pb_grpc.JobsServiceServicer):
    """`nucleate.v1.JobsService`, on every server."""

    def __init__(self, runner: JobRunner) -> None:
        self._runner = runner

    def GetJob(self, request: pb.GetJobRequest, context: grpc.ServicerContext) -> pb.GetJobResponse:
        """Say where a job stands."""
        return self._runner.get(request.job_id)

    def CancelJob(self, request: pb.CancelJobRequest, context: grpc.ServicerContext) -> pb.CancelJobResponse:
        """Cancel a job at its next step."""
        return pb.CancelJobResponse(state=self._runner.cancel(request.job_id))

"""OrchestratorService: decode, one call, encode."""

from __future__ import annotations

from collections.abc import Iterator

import grpc

from nucleate.orchestrator.loop.runs import Orchestrator
from nucleate.orchestrator.report.collection import report_of
from nucleate.v1 import orchestrator_pb2 as pb
from nucleate.v1 import orchestrator_pb2_grpc as pb_grpc


class OrchestratorServicer(pb_grpc.OrchestratorServiceServicer):
    """The RPCs of orchestrator.proto over one `Orchestrator`."""

    def __init__(self, orchestrator: Orchestrator) -> None:
        self._orchestrator = orchestrator

    def StartRun(self, request: pb.StartRunRequest, context: grpc.ServicerContext) -> pb.StartRunResponse:
        """Start a run."""
        return pb.StartRunResponse(run=self._orchestrator.start(request.run_id, request.plan))

    def GetRun(self, request: pb.GetRunRequest, context: grpc.ServicerContext) -> pb.GetRunResponse:
        """Show a run."""
        return pb.GetRunResponse(run=self._orchestrator.show(request.run_id))

    def ListRuns(self, request: pb.ListRunsRequest, context: grpc.ServicerContext) -> pb.ListRunsResponse:
        """Show every run."""
        return pb.ListRunsResponse(runs=self._orchestrator.show_all())

    def WatchRun(self, request: pb.WatchRunRequest, context: grpc.ServicerContext) -> Iterator[pb.WatchRunResponse]:
        """Follow a run."""
        for run in self._orchestrator.watch(request.run_id, context.is_active):
            yield pb.WatchRunResponse(run=run)

    def CancelRun(self, request: pb.CancelRunRequest, context: grpc.ServicerContext) -> pb.CancelRunResponse:
        """Cancel a run."""
        return pb.CancelRunResponse(run=self._orchestrator.cancel(request.run_id))

    def ResumeRun(self, request: pb.ResumeRunRequest, context: grpc.ServicerContext) -> pb.ResumeRunResponse:
        """Go on with a run."""
        return pb.ResumeRunResponse(run=self._orchestrator.resume(request.run_id))

    def GetReport(self, request: pb.GetReportRequest, context: grpc.ServicerContext) -> pb.GetReportResponse:
        """Render the report of what a run has found so far."""
        return report_of(*self._orchestrator.report_inputs(request.run_id), self._orchestrator.blobs)

    def ListTasks(self, request: pb.ListTasksRequest, context: grpc.ServicerContext) -> pb.ListTasksResponse:
        """Show annotation tasks."""
        return pb.ListTasksResponse(tasks=self._orchestrator.open_tasks(request.run_id))

    def SubmitTask(self, request: pb.SubmitTaskRequest, context: grpc.ServicerContext) -> pb.SubmitTaskResponse:
        """Take in an accepted mask."""
        return pb.SubmitTaskResponse(run=self._orchestrator.submit(request))

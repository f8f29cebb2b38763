"""Turning chosen windows into accepted masks: the robot clicks through them, or the run waits for people."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from nucleate.errors import StoreUnreachable
from nucleate.orchestrator.loop.annotation_tasks import AnnotationTasks
from nucleate.orchestrator.loop.run_plan import RunRecord
from nucleate.orchestrator.loop.service_calls import ServiceClients
from nucleate.orchestrator.loop.step_records import StepRecorder
from nucleate.v1 import annotator_pb2, common_pb2, interactive_pb2, orchestrator_pb2

_log = structlog.get_logger(__name__)
# A submission notifies the run at once; this is for one that another replica received.
_POLL_SECONDS = 15.0


class Annotation:
    """Everything annotated so far in one run: tasks, accepted masks, clicks and nuclei."""

    def __init__(self, record: RunRecord, recorder: StepRecorder, services: ServiceClients, tasks: AnnotationTasks) -> None:
        self._record = record
        self._recorder = recorder
        self._services = services
        self._tasks = tasks
        self._oracle = {each.id: each.instances for each in record.plan.oracle}
        self._results: list[annotator_pb2.AnnotatePatchResult] = []
        self.tasks: list[orchestrator_pb2.AnnotationTask] = []

    @property
    def accepted(self) -> list[common_pb2.LabelledImage]:
        """The accepted masks with their windows' pixels."""
        return [result.accepted for result in self._results]

    @property
    def clicks(self) -> int:
        """Clicks spent so far."""
        return sum(result.clicks for result in self._results)

    @property
    def nuclei(self) -> int:
        """Nuclei accepted so far."""
        return sum(result.nuclei for result in self._results)

    def annotate(self, cycle: int, patches: Sequence[orchestrator_pb2.AnnotationTask]) -> None:
        """Add the accepted masks of a cycle's windows."""
        if not self._oracle and patches:
            self._wait_for_annotators(cycle, patches)
        annotate = self._annotate_by_robot if self._oracle else self._collect_submission
        for index, task in enumerate(patches, 1):
            result = self._recorder.step(
                f"cycle-{cycle}.annotate-{index}",
                annotator_pb2.AnnotatePatchResult,
                lambda job_id, task=task: annotate(job_id, task),  # type: ignore[misc]
            )
            # Two windows of one image are two samples: the task names them apart.
            result.accepted.id = task.task_id.removeprefix(f"{self._record.run_id}.")
            self._results.append(result)
            self.tasks.append(task)

    def _annotate_by_robot(self, job_id: str, task: orchestrator_pb2.AnnotationTask) -> annotator_pb2.AnnotatePatchResult:
        """The robot clicks through the same interactive service as a person, looking at its sealed oracle."""
        profile = self._record.profile
        request = annotator_pb2.AnnotatePatchRequest(
            job_id=job_id,
            image=task.image,
            window=task.window,
            model=task.model,
            proposals=task.proposals,
            oracle=self._oracle[task.image.id],
            target_iou=profile.target_iou,
            max_clicks=profile.max_clicks,
        )
        result = self._services.run_job(self._recorder.run, "annotator", "AnnotatePatch", request)
        assert isinstance(result, annotator_pb2.AnnotatePatchResult)
        return result

    def _collect_submission(self, job_id: str, task: orchestrator_pb2.AnnotationTask) -> annotator_pb2.AnnotatePatchResult:
        """Pair the submitted mask with its window's pixels; the interactive service cuts them, as it does for every session."""
        run, session = self._recorder.run, f"{job_id}.cut"
        submission = self._tasks.submission(task.task_id)
        request = interactive_pb2.OpenSessionRequest(session_id=session, image=task.image, model=task.model, window=task.window)
        self._services.call(run, "interactive", "OpenSession", request)
        closed = self._services.call(
            run, "interactive", "CloseSession", interactive_pb2.CloseSessionRequest(session_id=session)
        )
        return annotator_pb2.AnnotatePatchResult(
            accepted=common_pb2.LabelledImage(id=task.task_id, image=closed.result.image, instances=submission.instances),
            clicks=submission.clicks,
            nuclei=self._tasks.count_nuclei(submission),
            seconds=submission.seconds,
        )

    def _wait_for_annotators(self, cycle: int, patches: Sequence[orchestrator_pb2.AnnotationTask]) -> None:
        """Create the tasks and wait, over any number of restarts, until each has an accepted mask."""

        def work(_: str) -> orchestrator_pb2.ListTasksResponse:
            for task in patches:
                self._tasks.create(task)
            run = self._recorder.run
            run.waiting = True
            try:
                while open_tasks := self._open_count(patches):
                    run.progress = common_pb2.Progress(
                        stage="waiting for annotation", step=len(patches) - open_tasks, total=len(patches)
                    )
                    run.wait(_POLL_SECONDS)
            finally:
                run.waiting = False
            return orchestrator_pb2.ListTasksResponse(tasks=patches)

        self._recorder.step(f"cycle-{cycle}.wait", orchestrator_pb2.ListTasksResponse, work)

    def _open_count(self, patches: Sequence[orchestrator_pb2.AnnotationTask]) -> int:
        try:
            return sum(not self._tasks.get(task.task_id).done for task in patches)
        except StoreUnreachable as error:
            # A wait of days outlives an outage of the store.
            _log.warning("cannot look for submitted tasks", error=str(error))
            return len(patches)

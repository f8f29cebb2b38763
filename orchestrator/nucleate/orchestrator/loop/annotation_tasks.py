"""Annotation tasks for people: created by a run, listed and submitted over RPC, kept in the object store meanwhile."""

from __future__ import annotations

import re
from collections.abc import Iterator

from google.protobuf import json_format

from nucleate.client.files.image_files import read_instance_map
from nucleate.errors import Conflict, InvalidInput, InvalidMask, NotFound, SizeMismatch
from nucleate.orchestrator.loop.run_plan import SEALED, check_run_id
from nucleate.runtime.blobs import Blobs
from nucleate.v1 import orchestrator_pb2

_TASK_ID = re.compile(r"(.+)\.cycle-(\d{1,4})\.patch-(\d{1,4})", re.ASCII)
_MAX_CLICKS = 1_000_000
_MAX_SECONDS = 366 * 86_400.0


def task_id(run_id: str, cycle: int, patch: int) -> str:
    """Name a task of a run's cycle."""
    return f"{run_id}.cycle-{cycle}.patch-{patch}"


def parse_task_id(task: str) -> tuple[str, int, int]:
    """Run, cycle and patch of a task id; `NotFound` for anything else."""
    match = _TASK_ID.fullmatch(task)
    if match is None:
        raise NotFound(f"no annotation task '{task[:120]}': `ListTasks` shows them")
    check_run_id(match[1])
    return match[1], int(match[2]), int(match[3])


class AnnotationTasks:
    """Tasks and their submissions under `runs/RUN/tasks/`."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._store = blobs.store

    def create(self, task: orchestrator_pb2.AnnotationTask) -> None:
        """Store a task; storing it again changes nothing."""
        text = json_format.MessageToJson(task, indent=None)
        self._store.put_new(_task_key(task.task_id), text.encode(), "application/json")

    def get(self, task: str) -> orchestrator_pb2.AnnotationTask:
        """The task as it stands; `NotFound` if there is none."""
        try:
            data = self._store.get(_task_key(task))
        except NotFound:
            raise NotFound(f"no annotation task '{task[:120]}': `ListTasks` shows them") from None
        found = json_format.Parse(data, orchestrator_pb2.AnnotationTask(), ignore_unknown_fields=True)
        found.done = self._store.exists(_submission_key(task))
        return found

    def of_run(self, run_id: str) -> Iterator[orchestrator_pb2.AnnotationTask]:
        """A run's tasks in the order of cycle and patch."""
        keys = self._store.list(f"runs/{run_id}/tasks/")
        for task in sorted((key.split("/")[3] for key in keys if key.endswith("/task.json")), key=parse_task_id):
            yield self.get(task)

    def submit(self, request: orchestrator_pb2.SubmitTaskRequest) -> None:
        """Keep the accepted mask of a task; the same mask again changes nothing.

        Raises:
            NotFound: no such task, or the mask is not in the store.
            InvalidMask, SizeMismatch, InvalidInput: the mask is no instance map of the task's window, or is sealed.
            Conflict: the task was submitted with another mask.
        """
        task = self.get(request.task_id)
        self._check_submission(request, task)
        text = json_format.MessageToJson(request, indent=None, sort_keys=True)
        if self._store.put_new(_submission_key(request.task_id), text.encode(), "application/json"):
            return
        if self.submission(request.task_id).instances.sha256 != request.instances.sha256:
            raise Conflict(f"task '{request.task_id}' was submitted with another mask: the first one stands")

    def submission(self, task: str) -> orchestrator_pb2.SubmitTaskRequest:
        """What was submitted for a task; `NotFound` before that."""
        data = self._store.get(_submission_key(task))
        return json_format.Parse(data, orchestrator_pb2.SubmitTaskRequest(), ignore_unknown_fields=True)

    def count_nuclei(self, request: orchestrator_pb2.SubmitTaskRequest) -> int:
        """Number of nuclei in a submitted mask."""
        return read_instance_map(self._blobs.get(request.instances), f"mask of task '{request.task_id}'").nuclei

    def _check_submission(self, request: orchestrator_pb2.SubmitTaskRequest, task: orchestrator_pb2.AnnotationTask) -> None:
        name = f"mask of task '{request.task_id}'"
        if not request.instances.uri:
            raise InvalidMask(f"{name} is missing: upload the instance map of the window first")
        if request.instances.uri.startswith(SEALED):
            raise InvalidInput(f"{name} is sealed ground truth: only masks made by annotating may enter training")
        if not (0 <= request.seconds <= _MAX_SECONDS and request.clicks <= _MAX_CLICKS):
            raise InvalidInput(f"{name} took {request.clicks} clicks and {request.seconds:g} s: give what was really spent")
        found = read_instance_map(self._blobs.get(request.instances), name)
        window = task.window
        if (found.width, found.height) != (window.width, window.height):
            raise SizeMismatch(
                f"{name} is {found.width}x{found.height} and the window {window.width}x{window.height}: hand in its map"
            )


def _task_key(task: str) -> str:
    return f"runs/{parse_task_id(task)[0]}/tasks/{task}/task.json"


def _submission_key(task: str) -> str:
    return f"runs/{parse_task_id(task)[0]}/tasks/{task}/submission.json"

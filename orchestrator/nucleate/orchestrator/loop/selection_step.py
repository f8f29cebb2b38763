"""From scored windows to annotation tasks: what is chosen, and what each annotator starts from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from nucleate.orchestrator.loop.annotation_tasks import task_id
from nucleate.orchestrator.loop.window_selection import Candidate, select
from nucleate.v1 import common_pb2, hovernet_pb2, orchestrator_pb2


def select_windows(
    scored: Iterable[hovernet_pb2.PatchScore],
    annotated: Iterable[orchestrator_pb2.AnnotationTask],
    *,
    count: int,
    per_image: int,
    seed: int,
) -> list[Candidate]:
    """Choose up to `count` of the scored windows, none overlapping an annotated one; see `window_selection.select`."""
    taken = [_annotated_window(task) for task in annotated]
    return select([_candidate(patch) for patch in scored], taken, count=count, per_image=per_image, seed=seed)


def tasks_of(
    run_id: str,
    cycle: int,
    chosen: Sequence[Candidate],
    *,
    pool: Iterable[common_pb2.Image],
    labels: Iterable[hovernet_pb2.SegmentedImage],
    model: common_pb2.Model,
) -> list[orchestrator_pb2.AnnotationTask]:
    """One task per chosen window, with the current labels of its image as proposals and the model to click with."""
    images = {image.id: image for image in pool}
    proposals = {label.id: label.instances for label in labels}
    return [
        orchestrator_pb2.AnnotationTask(
            task_id=task_id(run_id, cycle, index),
            run_id=run_id,
            cycle=cycle,
            image=images[each.image_id],
            window=common_pb2.Window(x=each.x, y=each.y, width=each.width, height=each.height),
            proposals=proposals[each.image_id],
            model=model,
        )
        for index, each in enumerate(chosen, 1)
    ]


def _candidate(patch: hovernet_pb2.PatchScore) -> Candidate:
    window = patch.window
    return Candidate(
        patch.image_id, window.x, window.y, window.width, window.height, patch.uncertainty, patch.nuclei, tuple(patch.features)
    )


def _annotated_window(task: orchestrator_pb2.AnnotationTask) -> Candidate:
    window = task.window
    return Candidate(task.image.id, window.x, window.y, window.width, window.height, 0.0, 0)

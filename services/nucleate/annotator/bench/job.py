"""The evaluation as a job: nuclei clicked from scratch, then proposals corrected on patches (BenchClicks)."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial

import numpy as np

from nucleate.annotator.bench.clicked_nucleus import NucleusRecord, click_nucleus
from nucleate.annotator.bench.labelled_images import LabelledImages
from nucleate.annotator.bench.sampling import Patch, sample_nuclei, sample_windows
from nucleate.annotator.bench.summary import BenchState, summary
from nucleate.annotator.robot.click_noise import ClickNoise
from nucleate.annotator.robot.oracle import nucleus_labels
from nucleate.annotator.robot.proposal_correction import ProposalCorrector
from nucleate.annotator.robot.session_tool import SessionTool, Stub, open_session
from nucleate.runtime.blobs import Blobs
from nucleate.runtime.jobs import Job
from nucleate.v1 import annotator_pb2 as pb
from nucleate.v1 import common_pb2, interactive_pb2

NUCLEI_PER_SESSION = 40  # a session's log has an end
_CLICKING, _CORRECTING = 0, 1  # streams of the seed of the click noise


class ClickBench:
    """One job; it goes on from its checkpoint and comes to the same results, times aside."""

    def __init__(self, request: pb.BenchClicksRequest, job: Job, blobs: Blobs, stub: Stub) -> None:
        self._request, self._job, self._blobs, self._stub = request, job, blobs, stub
        self._state = BenchState.from_bytes(job.restored())
        self._steps = 0

    def run(self) -> pb.BenchClicksResult:
        """Click, correct, and sum up.

        Raises:
            errors.SizeMismatch: a mask has another size than its image.
            errors.EmptyInput: there is no nucleus to click.
        """
        request, state = self._request, self._state
        images = LabelledImages(self._blobs, request.images)
        drawn = sample_nuclei(images.candidates, request.nuclei, request.seed)
        windows = self._windows(images)
        # A step is a nucleus, clicked from scratch or in a corrected window.
        steps = [len(nucleus_labels(patch.crop(images.map(patch.image)))) for patch in windows]
        self._steps = sum(map(len, drawn)) + sum(steps)
        for index, labels in session_batches(drawn, len(state.records)):
            self._click(images, index, labels)
            self._job.checkpoint(state.to_bytes())
        for number in range(len(state.patches), len(windows)):
            self._correct(images, windows[number], sum(steps[:number]))
            self._job.checkpoint(state.to_bytes())
        return summary(state, request, images.left_out, self._blobs)

    def _windows(self, images: LabelledImages) -> list[Patch]:
        if not self._request.HasField("patches"):
            return []
        wanted = self._request.patches
        return sample_windows(images.with_nuclei(), images.map, wanted.size, wanted.count, self._request.seed)

    def _click(self, images: LabelledImages, index: int, labels: Sequence[int]) -> None:
        """Click some nuclei of one image in a session of their own."""
        image, labels_HW, done = images.image(index), images.map(index), len(self._state.records)
        tool = self._open(interactive_pb2.OpenSessionRequest(image=image))
        records: list[NucleusRecord] = []
        for label in labels:
            self._progress("clicking nuclei", done + len(records))
            nucleus_HW = labels_HW == label
            record = NucleusRecord(image.id, label, int(np.count_nonzero(nucleus_HW)))
            noise = ClickNoise(self._request.jitter, [self._request.seed, _CLICKING, index, label])
            click_nucleus(tool, nucleus_HW, self._request.most_clicks, noise, record)
            records.append(record)
        tool.close()
        self._state.records += records

    def _correct(self, images: LabelledImages, patch: Patch, done: int) -> None:
        """Correct one window in a session of its own."""
        image, wanted = images.image(patch.image), self._request.patches
        window = common_pb2.Window(x=patch.x, y=patch.y, width=patch.width, height=patch.height)
        tool = self._open(interactive_pb2.OpenSessionRequest(image=image, window=window))
        tool.propose(wanted.proposals[patch.image] if wanted.proposals else None)
        noise = ClickNoise(self._request.jitter, [self._request.seed, _CORRECTING, patch.image, patch.x, patch.y])
        began = time.monotonic()
        robot = ProposalCorrector(tool, patch.crop(images.map(patch.image)), tool.view().objects, noise)
        report = partial(self._progress, "correcting patches", len(self._state.records) + done)
        found = robot.correct(wanted.target_pq, report)
        seconds = time.monotonic() - began
        tool.close()
        self._state.patches.append(pb.PatchResult(id=image.id, window=window, seconds=seconds, **asdict(found)))

    def _open(self, opening: interactive_pb2.OpenSessionRequest) -> SessionTool:
        """Open a new session: one that an interrupted attempt left behind may be in any state, and expires by itself."""
        opening.session_id = f"bench-{self._job.job_id}-{uuid.uuid4().hex[:12]}"
        opening.model.CopyFrom(self._request.model)
        opening.refinement.CopyFrom(self._request.refinement)
        began = time.monotonic()
        tool = open_session(self._stub, opening)
        self._state.opening_seconds += time.monotonic() - began
        return tool

    def _progress(self, stage: str, step: int) -> None:
        self._job.progress(step, self._steps, stage, **self._state.running_means(self._request.most_clicks))


def session_batches(drawn: Sequence[Sequence[int]], done: int) -> Iterator[tuple[int, Sequence[int]]]:
    """Image numbers with up to NUCLEI_PER_SESSION labels each, leaving out the first `done` labels: whole batches of them."""
    for index, labels in enumerate(drawn):
        for start in range(0, len(labels), NUCLEI_PER_SESSION):
            batch = labels[start : start + NUCLEI_PER_SESSION]
            if done:
                done -= len(batch)
            else:
                yield index, batch

"""What each step asks of which service. Names of steps are names of jobs: "cycle-2.train-hovernet"."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any

from google.protobuf import json_format

from nucleate.orchestrator.loop.annotation_step import Annotation
from nucleate.orchestrator.loop.journal import Journal
from nucleate.orchestrator.loop.run_plan import RunRecord
from nucleate.orchestrator.loop.selection_step import select_windows, tasks_of
from nucleate.orchestrator.loop.service_calls import ServiceClients
from nucleate.orchestrator.loop.step_records import M, StepRecorder
from nucleate.orchestrator.loop.training_set import training_set
from nucleate.v1 import (
    colornorm_pb2,
    common_pb2,
    hovernet_pb2,
    interactive_pb2,
    orchestrator_pb2,
    refiner_pb2,
    synthesis_pb2,
)

Images = Sequence[common_pb2.Image]
Evaluation = Sequence[common_pb2.LabelledImage]
Labels = Sequence[hovernet_pb2.SegmentedImage]
# Without an evaluation set, this many pool images are segmented for the report's pictures.
_PREVIEW_IMAGES = 4


class Steps:
    """The steps of one run, bound to its record, journal and services."""

    def __init__(
        self, record: RunRecord, journal: Journal, recorder: StepRecorder, services: ServiceClients, annotation: Annotation
    ) -> None:
        self._record = record
        self._plan = record.plan
        self._profile = record.profile
        self._journal = journal
        self._recorder = recorder
        self._services = services
        self._annotation = annotation
        self.cycles = record.plan.cycles
        self.annotates = record.annotator != "nobody"

    def normalize(self) -> tuple[Images, Evaluation]:
        """Bring pool and evaluation images to the colours of the plan's target, if it names one; masks stay as they are."""
        plan = self._plan
        if not plan.HasField("normalization_target"):
            return list(plan.images), list(plan.evaluation)
        model = self._train_colornorm() if self._normalization == "colornormnet" else None
        pool = self._normalized("normalize.pool", plan.images, model)
        if not plan.evaluation:
            return pool, []
        unlabelled = [common_pb2.Image(id=each.id, data=each.image) for each in plan.evaluation]
        images = self._normalized("normalize.evaluation", unlabelled, model)
        return pool, [
            common_pb2.LabelledImage(id=each.id, image=image.data, instances=each.instances)
            for each, image in zip(plan.evaluation, images, strict=True)
        ]

    def score_classical(self, evaluation: Evaluation) -> None:
        """Segment the evaluation set without training, and write the row every learned model has to beat."""
        scores = None
        if evaluation:
            request = hovernet_pb2.SegmentRequest(
                images=_unlabelled(evaluation), classical=hovernet_pb2.ClassicalSegmenter(), overlays=True
            )
            segmented = self._job("classical.segment", "hovernet", "Segment", request, hovernet_pb2.SegmentResult)
            scores = self._evaluate("classical.evaluate", evaluation, segmented)
        self._write_row("classical", "classical", scores)

    def pseudo_label(self, stage: str, pool: Images, model: common_pb2.Model | None = None) -> Labels:
        """Label the pool with ignore masks where the segmenter is unsure: classically, or with the model."""
        request = hovernet_pb2.SegmentRequest(images=pool, ignore_masks=True, overlays=False)
        if model is None:
            request.classical.SetInParent()
        else:
            request.model.CopyFrom(model)
        return self._job(f"{stage}.pseudo-label", "hovernet", "Segment", request, hovernet_pb2.SegmentResult).images

    def synthesize(self, cycle: int, pool: Images) -> Sequence[common_pb2.LabelledImage]:
        """Make this cycle's synthetic pairs, different from every other cycle's."""
        name = f"cycle-{cycle}.synthesize"
        request = synthesis_pb2.SynthesizeRequest(
            images=pool,
            count=self._profile.synthetic_count,
            size=self._profile.synthetic_size,
            seed=self._seed(name),
            profile=self._profile.name,
        )
        return self._job(name, "synthesis", "Synthesize", request, synthesis_pb2.SynthesizeResult).samples

    def train_refiner(self, cycle: int, synthetic: Sequence[common_pb2.LabelledImage], pool: Images) -> common_pb2.Model:
        """Train the refiner and its discriminator; later cycles use the model again."""
        name = f"cycle-{cycle}.train-refiner"
        request = refiner_pb2.RefinerServiceTrainRequest(
            synthetic=synthetic, real=pool, profile=self._profile.name, seed=self._seed(name)
        )
        return self._job(name, "refiner", "Train", request, refiner_pb2.RefinerServiceTrainResult).model

    def refine(
        self, cycle: int, model: common_pb2.Model, synthetic: Sequence[common_pb2.LabelledImage]
    ) -> Sequence[refiner_pb2.RefinedImage]:
        """Refine the synthetic images; where the mask gate refuses, the image comes back as it was."""
        request = refiner_pb2.RefineRequest(model=model, synthetic=synthetic, preview=True, importance=self._profile.importance)
        return self._job(f"cycle-{cycle}.refine", "refiner", "Refine", request, refiner_pb2.RefineResult).samples

    def build_dataset(
        self, cycle: int, refined: Sequence[refiner_pb2.RefinedImage], pool: Images, labels: Labels
    ) -> common_pb2.Dataset:
        """Write the manifest of this cycle's training set."""

        def work(_: str) -> common_pb2.Dataset:
            dataset = training_set(
                self._profile,
                self._seed("split"),
                refined=refined,
                pool={image.id: image for image in pool},
                labels=labels,
                accepted=self._annotation.accepted,
            )
            manifest = self._recorder.blobs.put(dataset.to_json(), "application/json")
            return common_pb2.Dataset(manifest=manifest, samples=len(dataset.samples))

        return self._recorder.step(f"cycle-{cycle}.dataset", common_pb2.Dataset, work)

    def train_interactive(self, cycle: int, dataset: common_pb2.Dataset, initial: common_pb2.Model | None) -> common_pb2.Model:
        """Train the click model, from the previous cycle's weights if there are any."""
        name = f"cycle-{cycle}.train-interactive"
        request = interactive_pb2.InteractiveServiceTrainRequest(
            dataset=dataset, profile=self._profile.name, seed=self._seed(name), initial=initial
        )
        return self._job(name, "interactive", "Train", request, interactive_pb2.InteractiveServiceTrainResult).model

    def train_hovernet(
        self, cycle: int, dataset: common_pb2.Dataset, initial: common_pb2.Model | None, pool: Images
    ) -> common_pb2.Model:
        """Train HoVer-Net, from the previous cycle's weights if there are any; the pool serves label-free model selection."""
        name = f"cycle-{cycle}.train-hovernet"
        request = hovernet_pb2.HoverNetServiceTrainRequest(
            dataset=dataset, profile=self._profile.name, seed=self._seed(name), initial=initial, unlabelled=pool
        )
        return self._job(name, "hovernet", "Train", request, hovernet_pb2.HoverNetServiceTrainResult).model

    def score_cycle(self, cycle: int, model: common_pb2.Model, evaluation: Evaluation, pool: Images) -> None:
        """Segment the evaluation set, or a few pool images to look at, and write the cycle's row.

        The row's clicks and nuclei are those accepted before this cycle trained; its seconds are those of the cycle so far.
        """
        images = _unlabelled(evaluation) or pool[:_PREVIEW_IMAGES]
        request = hovernet_pb2.SegmentRequest(images=images, model=model, overlays=True)
        segmented = self._job(f"cycle-{cycle}.segment", "hovernet", "Segment", request, hovernet_pb2.SegmentResult)
        scores = self._evaluate(f"cycle-{cycle}.evaluate", evaluation, segmented) if evaluation else None
        self._write_row(f"cycle-{cycle}", f"cycle {cycle}", scores)

    def select(
        self, cycle: int, pool: Images, labels: Labels, hovernet: common_pb2.Model, interactive: common_pb2.Model
    ) -> Sequence[orchestrator_pb2.AnnotationTask]:
        """Choose the windows most worth annotating and say what to start from."""
        profile = self._profile
        request = hovernet_pb2.ScorePatchesRequest(
            images=pool, model=hovernet, size=profile.patch_size, stride=profile.patch_stride
        )
        scored = self._job(f"cycle-{cycle}.score-patches", "hovernet", "ScorePatches", request, hovernet_pb2.ScorePatchesResult)
        name = f"cycle-{cycle}.select"

        def work(_: str) -> orchestrator_pb2.ListTasksResponse:
            per_image = max(profile.patches_per_image, math.ceil(profile.patches / len(pool)))
            chosen = select_windows(
                scored.patches, self._annotation.tasks, count=profile.patches, per_image=per_image, seed=self._seed(name)
            )
            tasks = tasks_of(self._record.run_id, cycle, chosen, pool=pool, labels=labels, model=interactive)
            return orchestrator_pb2.ListTasksResponse(tasks=tasks)

        return self._recorder.step(name, orchestrator_pb2.ListTasksResponse, work).tasks

    def annotate(self, cycle: int, patches: Sequence[orchestrator_pb2.AnnotationTask]) -> None:
        """Have the windows annotated, by the robot or by people; the accepted masks join the next training set."""
        self._annotation.annotate(cycle, patches)

    @property
    def _normalization(self) -> str:
        return self._plan.normalization or self._profile.normalization

    def _train_colornorm(self) -> common_pb2.Model:
        name = "normalize.train"
        request = colornorm_pb2.ColorNormServiceTrainRequest(
            target=self._plan.normalization_target, profile=self._profile.name, seed=self._seed(name)
        )
        return self._job(name, "colornorm", "Train", request, colornorm_pb2.ColorNormServiceTrainResult).model

    def _normalized(self, name: str, images: Images, model: common_pb2.Model | None) -> Images:
        method = f"NORMALIZATION_METHOD_{self._normalization.upper()}"
        target = self._plan.normalization_target if model is None else None
        request = colornorm_pb2.NormalizeRequest(images=images, method=method, target=target, model=model)
        result = self._job(name, "colornorm", "Normalize", request, colornorm_pb2.NormalizeResult)
        return [each.image for each in result.images]

    def _evaluate(
        self, name: str, evaluation: Evaluation, segmented: hovernet_pb2.SegmentResult
    ) -> hovernet_pb2.SegmentationScores:
        predicted = {each.id: each.instances for each in segmented.images}
        request = hovernet_pb2.EvaluateRequest(
            pairs=[
                hovernet_pb2.EvaluationPair(id=each.id, predicted=predicted[each.id], truth=each.instances)
                for each in evaluation
            ]
        )
        return self._job(name, "hovernet", "Evaluate", request, hovernet_pb2.EvaluateResult).mean

    def _write_row(self, stage: str, name: str, scores: hovernet_pb2.SegmentationScores | None) -> None:
        row = orchestrator_pb2.ScoreRow(
            name=name,
            scores=scores,
            clicks=self._annotation.clicks,
            annotated_nuclei=self._annotation.nuclei,
            seconds=self._recorder.seconds(f"{stage}."),
        )
        self._journal.step(f"{stage}.row", lambda: {"row": json_format.MessageToDict(row)})

    def _job(self, name: str, service: str, method: str, request: Any, kind: type[M]) -> M:
        """Run one job of a service as the step of that name."""

        def work(job_id: str) -> M:
            request.job_id = job_id
            result = self._services.run_job(self._recorder.run, service, method, request)
            assert isinstance(result, kind)
            return result

        return self._recorder.step(name, kind, work)

    def _seed(self, name: str) -> int:
        """Derive a step's 32-bit seed from the plan's."""
        return int.from_bytes(hashlib.sha256(f"{self._plan.seed}:{name}".encode()).digest()[:4], "big")


def _unlabelled(evaluation: Evaluation) -> list[common_pb2.Image]:
    return [common_pb2.Image(id=each.id, data=each.image) for each in evaluation]

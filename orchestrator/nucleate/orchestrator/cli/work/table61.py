"""bench colornorm: the report's table 6.1, through the services as a run uses them.

Supervised: HoVer-Net learns from the true masks of the training patients. The masks of the test patients are sealed and only
score. Nothing of it enters any run.
"""

from __future__ import annotations

import random
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nucleate.client.files.input_files import Pair, images_in, masks_in, paired
from nucleate.client.files.upload import upload_images, upload_masks
from nucleate.dataset.manifest import BlobRef, Dataset, Origin, Sample, Split
from nucleate.errors import InvalidInput
from nucleate.orchestrator.cli.services import ServiceConnections, ensure_services, new_job_id
from nucleate.orchestrator.cli.terminal.options import METHODS
from nucleate.orchestrator.cli.terminal.printing import print_notice, show_json, show_table
from nucleate.orchestrator.cli.terminal.progress import progress_display
from nucleate.orchestrator.profiles import profile_named
from nucleate.v1 import colornorm_pb2, common_pb2, hovernet_pb2

NONE, AUGMENTATION = "none", "augmentation"
ARMS = (NONE, *METHODS, AUGMENTATION)
SCORES = ("dice1", "aji", "pq")
_PARTS = (20, 5, 5)  # training, validation and test, of 30
_BARCODE = re.compile(r"(TCGA-[A-Z0-9]{2}-[A-Z0-9]{4})", re.ASCII)


@dataclass(frozen=True)
class Table61Options:
    """What is measured."""

    images: Path
    masks: Path
    arms: tuple[str, ...]
    target: str
    runs: int
    profile: str
    seed: int


@dataclass(frozen=True)
class PatientSplit:
    """Ids of the training, validation and test images; no patient is in two of them."""

    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]


def split_by_patient(ids: Sequence[str], seed: int) -> PatientSplit:
    """Deal patients out at random until each part has its share of the images.

    Raises:
        InvalidInput: under six patients.
    """
    patients: dict[str, list[str]] = {}
    for name in sorted(ids):
        barcode = _BARCODE.match(name)
        patients.setdefault(barcode[1] if barcode else name, []).append(name)
    if len(patients) < 6:
        raise InvalidInput(f"the images are of {len(patients)} patients: the split needs at least 6")
    order = sorted(patients)
    random.Random(seed).shuffle(order)
    wanted = [round(len(ids) * share / sum(_PARTS)) or 1 for share in (_PARTS[2], _PARTS[1])]
    parts: list[list[str]] = [[], [], []]
    for patient in order:
        part = 0 if len(parts[0]) < wanted[0] else 1 if len(parts[1]) < wanted[1] else 2
        parts[part] += patients[patient]
    return PatientSplit(*(tuple(sorted(part)) for part in reversed(parts)))


def measure(options: Table61Options, *, as_json: bool) -> None:
    """Train and score every arm; print means and spreads."""
    arms = options.arms or ARMS
    unknown = next((arm for arm in arms if arm not in ARMS), None)
    if unknown:
        raise InvalidInput(f"unknown arm '{unknown}': choose from {', '.join(ARMS)}")
    profile_named(options.profile)
    pairs = paired(images_in(options.images), masks_in(options.masks, "--masks"), options.masks)
    split = split_by_patient([image.id for image, _ in pairs], options.seed)
    target = options.target or split.train[0]
    if target not in split.train:
        raise InvalidInput(f"--target {target} is no training image: choose one of {', '.join(split.train)}")
    print_notice("supervised: HoVer-Net is trained on the true masks of the training patients")
    with progress_display() as display, ensure_services(["colornorm", "hovernet"], display) as services:
        experiment = _Experiment(services, options, pairs, split, target)
        found = {arm: experiment.scores(arm) for arm in arms}
    _show(options, split, target, found, as_json=as_json)


class _Experiment:
    """The images and masks in the store, and what is done to them."""

    def __init__(
        self, services: ServiceConnections, options: Table61Options, pairs: Sequence[Pair], split: PatientSplit, target: str
    ) -> None:
        self._services = services
        self._options = options
        self._split = split
        self._target = target
        self._images = {each.id: each for each in upload_images(services.blobs, [image for image, _ in pairs])}
        learnt = [mask for image, mask in pairs if image.id not in split.test]
        self._masks = upload_masks(services.blobs, learnt, sealed=False)
        self._sealed = upload_masks(services.blobs, [mask for image, mask in pairs if image.id in split.test], sealed=True)

    def scores(self, arm: str) -> list[dict[str, float]]:
        """Mean test scores of every run."""
        images = self._images if arm in {NONE, AUGMENTATION} else self._normalized(arm)
        dataset = self._dataset(images)
        return [self._run(arm, images, dataset, self._options.seed + run) for run in range(self._options.runs)]

    def _normalized(self, method: str) -> dict[str, common_pb2.Image]:
        client, target = self._services.client("colornorm"), self._images[self._target]
        request = colornorm_pb2.NormalizeRequest(job_id=new_job_id("normalize"), images=self._images.values())
        if method == "colornormnet":
            training = colornorm_pb2.ColorNormServiceTrainRequest(
                job_id=new_job_id("colornorm"), target=target, profile=self._options.profile, seed=self._options.seed
            )
            trained = client.follow(client.stub.Train, training, self._services.display.update)
            request.model.CopyFrom(trained.model)
        else:
            fit = colornorm_pb2.FitRequest(method=f"NORMALIZATION_METHOD_{method.upper()}", target=target)
            request.model.CopyFrom(client.call(client.stub.Fit, fit).model)
        result = client.follow(client.stub.Normalize, request, self._services.display.update)
        return {each.image.id: each.image for each in result.images}

    def _dataset(self, images: Mapping[str, common_pb2.Image]) -> common_pb2.Dataset:
        parts: tuple[tuple[Split, tuple[str, ...]], ...] = (("train", self._split.train), ("val", self._split.val))
        samples = [
            Sample(
                id=name,
                image=_ref(images[name].data),
                instances=_ref(self._masks[name]),
                ignore=None,
                origin=Origin.ACCEPTED,
                split=part,
            )
            for part, names in parts
            for name in names
        ]
        manifest = self._services.blobs.put(Dataset(samples).to_json(), "application/json")
        return common_pb2.Dataset(manifest=manifest, samples=len(samples))

    def _run(
        self, arm: str, images: Mapping[str, common_pb2.Image], dataset: common_pb2.Dataset, seed: int
    ) -> dict[str, float]:
        client, update = self._services.client("hovernet"), self._services.display.update
        training = hovernet_pb2.HoverNetServiceTrainRequest(
            job_id=new_job_id(f"table61-{arm}"),
            dataset=dataset,
            profile=self._options.profile,
            seed=seed,
            plain_colours=arm != AUGMENTATION,
        )
        model = client.follow(client.stub.Train, training, update).model
        segment = hovernet_pb2.SegmentRequest(
            job_id=new_job_id("segment"), images=[images[name] for name in self._split.test], model=model
        )
        predicted = {each.id: each.instances for each in client.follow(client.stub.Segment, segment, update).images}
        evaluate = hovernet_pb2.EvaluateRequest(job_id=new_job_id("evaluate"))
        for name in self._split.test:
            evaluate.pairs.add(id=name, predicted=predicted[name], truth=self._sealed[name])
        mean = client.follow(client.stub.Evaluate, evaluate, update).mean
        return {score: getattr(mean, score) for score in SCORES}


def _ref(blob: common_pb2.Blob) -> BlobRef:
    return BlobRef(uri=blob.uri, sha256=blob.sha256, size=blob.size, media_type=blob.media_type)


def _show(
    options: Table61Options, split: PatientSplit, target: str, found: Mapping[str, list[dict[str, float]]], *, as_json: bool
) -> None:
    summary: dict[str, Any] = {
        arm: {
            score: {"mean": statistics.mean(values), "spread": statistics.stdev(values) if len(values) > 1 else 0.0}
            for score in SCORES
            for values in ([run[score] for run in runs],)
        }
        for arm, runs in found.items()
    }
    if as_json:
        about = {"supervised": True, "profile": options.profile, "seed": options.seed, "runs": options.runs, "target": target}
        parts = {"train": split.train, "val": split.val, "test": split.test}
        show_json({**about, "split": parts, "arms": summary, "each": found})
        return
    rows = [
        (arm, *(f"{each[score]['mean']:.3f} ± {each[score]['spread']:.3f}" for score in SCORES))
        for arm, each in summary.items()
    ]
    show_table((f"supervised, {options.runs} runs", "DICE1", "AJI", "PQ"), rows)

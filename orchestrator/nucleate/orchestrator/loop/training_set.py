"""A cycle's training set: synthetic pairs, pseudo-labels of the pool, and every mask accepted so far."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from nucleate.dataset.manifest import BlobRef, Dataset, Origin, Sample, Split, split_80_20
from nucleate.orchestrator.profiles import RunProfile
from nucleate.v1 import common_pb2, hovernet_pb2, refiner_pb2


@dataclass(frozen=True)
class _Labelled:
    id: str
    image: common_pb2.Blob
    instances: common_pb2.Blob
    origin: Origin
    weight: float
    ignore: common_pb2.Blob | None = None


def training_set(
    profile: RunProfile,
    seed: int,
    *,
    refined: Iterable[refiner_pb2.RefinedImage],
    pool: Mapping[str, common_pb2.Image],
    labels: Iterable[hovernet_pb2.SegmentedImage],
    accepted: Iterable[common_pb2.LabelledImage],
) -> Dataset:
    """Put the sources together: synthetic pairs split 80/20, every pseudo-label and every accepted mask in training.

    Report section 3.2.3 splits the synthetic pairs, of which there can be any number, and adds every mask that a person made.
    Un-annotated images are few, and holding one out tells nothing: its labels are guesses like the others.

    `pool` are the un-annotated images by id, `labels` their current pseudo-labels; an image in which nothing was found teaches
    nothing and is left out. The same arguments give the same manifest bytes.
    """
    synthetic = [_synthetic(each, profile.weight_synthetic) for each in refined]
    kept = [
        *(_pseudo(each, pool[each.id], profile.weight_pseudo) for each in labels if each.nuclei),
        *(_accepted(each, profile.weight_accepted) for each in accepted),
    ]
    return Dataset([*_split(synthetic, seed), *(_sample(each, "train") for each in kept)])


def with_classical_fallback(
    labels: Iterable[hovernet_pb2.SegmentedImage], classical: Iterable[hovernet_pb2.SegmentedImage]
) -> list[hovernet_pb2.SegmentedImage]:
    """A model's pseudo-labels, image by image, except where it finds under half or over twice the nuclei of the classical ones.

    A model that has collapsed would teach the next one to find nothing, or noise; the classical count is within a fifth of the
    true one on average, and needs no label.
    """
    before = {each.id: each for each in classical}
    return [each if _plausible(each.nuclei, before[each.id].nuclei) else before[each.id] for each in labels]


def _plausible(found: int, classical: int) -> bool:
    return classical <= 2 * found and found <= 2 * classical


def composition(dataset: Dataset) -> dict[str, int]:
    """Number of samples by origin."""
    return {origin.value: sum(sample.origin == origin for sample in dataset.samples) for origin in Origin}


def _synthetic(refined: refiner_pb2.RefinedImage, weight: float) -> _Labelled:
    sample, origin = refined.sample, Origin.REFINED if refined.gate.accepted else Origin.SYNTHETIC
    importance = refined.weight or 1.0  # 0: written before images were weighed
    return _Labelled(f"synthetic.{sample.id}", sample.image, sample.instances, origin, weight * importance)


def _pseudo(label: hovernet_pb2.SegmentedImage, image: common_pb2.Image, weight: float) -> _Labelled:
    ignore = label.ignore if label.HasField("ignore") else None
    return _Labelled(f"pool.{label.id}", image.data, label.instances, Origin.PSEUDO, weight, ignore)


def _accepted(sample: common_pb2.LabelledImage, weight: float) -> _Labelled:
    return _Labelled(f"accepted.{sample.id}", sample.image, sample.instances, Origin.ACCEPTED, weight)


def _split(group: Sequence[_Labelled], seed: int) -> Iterable[Sample]:
    side = split_80_20([each.id for each in group], seed)
    return (_sample(each, side[each.id]) for each in group)


def _sample(labelled: _Labelled, split: Split) -> Sample:
    return Sample(
        id=labelled.id,
        image=_ref(labelled.image),
        instances=_ref(labelled.instances),
        ignore=None if labelled.ignore is None else _ref(labelled.ignore),
        origin=labelled.origin,
        split=split,
        weight=labelled.weight,
    )


def _ref(blob: common_pb2.Blob) -> BlobRef:
    return BlobRef(uri=blob.uri, sha256=blob.sha256, size=blob.size, media_type=blob.media_type)

"""Between protocol messages and the method's own values."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from nucleate.dataset.manifest import BlobRef, Dataset, Sample
from nucleate.dataset.sample_loading import load_sample
from nucleate.errors import InvalidModel
from nucleate.hovernet import profiles
from nucleate.hovernet.evaluation import scores
from nucleate.hovernet.evaluation.scores import ImageScores
from nucleate.hovernet.evaluation.window_scores import WindowScore
from nucleate.hovernet.networks.hovernet import Architecture, HoVerNet
from nucleate.hovernet.segmentation.image_segmentation import Segmentation
from nucleate.hovernet.service import models
from nucleate.hovernet.training.loop import TrainingObserver, train
from nucleate.hovernet.training.window_sampling import TrainingSample
from nucleate.learning.distributed import World
from nucleate.pathology.annotation_formats import geojson_writer
from nucleate.pathology.images.codec import decode_image, encode_instances, encode_mask, encode_png
from nucleate.pathology.images.overlays import contours_over
from nucleate.pathology.metrics.dice_aji_pq import Scores
from nucleate.runtime.blobs import Blobs
from nucleate.v1 import common_pb2
from nucleate.v1 import hovernet_pb2 as pb

_MAX_INLINE = 1 << 20


def trained(
    request: pb.HoverNetServiceTrainRequest,
    blobs: Blobs,
    observer: TrainingObserver,
    device: torch.device,
    world: World | None = None,
) -> pb.HoverNetServiceTrainResult:
    """Everything a Train call does: data in, training, model out; of several processes only the first stores the model."""
    profile = profiles.named(request.profile)
    data = training_data(request, blobs)
    arch = dataclasses.replace(profile.arch, classes=data.classes)
    config = profile.training
    if request.plain_colours:
        config = dataclasses.replace(config, augmentation=dataclasses.replace(config.augmentation, colour_share=0.0))
    if request.keep_labels:
        config = dataclasses.replace(config, self_training=None)
    initial, world = initial_network(request, blobs, arch), world or World()
    result = train(
        data.samples,
        data.unlabelled,
        arch,
        config,
        request.seed,
        observer,
        initial=initial,
        device=device,
        world=world,
    )
    if world.rank:
        return pb.HoverNetServiceTrainResult()
    model = models.model_message(result, profile, data.digest, request.initial.card.sha256, blobs)
    return pb.HoverNetServiceTrainResult(model=model, metrics=result.metrics)


@dataclasses.dataclass(frozen=True)
class TrainingData:
    """Samples to learn from, images to compare candidates on, the classes of nuclei, and the data set's digest."""

    samples: list[TrainingSample]
    unlabelled: list[NDArray[np.uint8]]
    classes: tuple[str, ...]
    digest: str


def training_data(request: pb.HoverNetServiceTrainRequest, blobs: Blobs) -> TrainingData:
    """Everything a training reads, through `blobs`; a validation sample lends its image, not its labels, to the selection."""
    dataset = Dataset.from_json(blobs.get(request.dataset.manifest))
    samples = [_training_sample(sample, blobs, len(dataset.classes)) for sample in dataset.part("train")]
    unlabelled = [decoded(image, blobs) for image in request.unlabelled]
    held_out = () if unlabelled else dataset.part("val")
    unlabelled += [_training_sample(sample, blobs, len(dataset.classes)).image for sample in held_out]
    return TrainingData(samples, unlabelled, dataset.classes, dataset.digest)


def _training_sample(sample: Sample, blobs: Blobs, classes: int) -> TrainingSample:
    loaded = load_sample(sample, lambda ref: blobs.get(_blob(ref)), classes)
    return TrainingSample(loaded.image, loaded.instances, loaded.ignore, str(sample.origin), sample.weight, loaded.types)


def _blob(ref: BlobRef) -> common_pb2.Blob:
    return common_pb2.Blob(uri=ref.uri, sha256=ref.sha256, size=ref.size, media_type=ref.media_type)


def decoded(image: common_pb2.Image, blobs: Blobs) -> NDArray[np.uint8]:
    """Pixels of an image, errors naming its id."""
    return decode_image(blobs.content(image), f"image '{image.id}'")


def initial_network(request: pb.HoverNetServiceTrainRequest, blobs: Blobs, arch: Architecture) -> HoVerNet | None:
    """The network to start from, if the request names one, which has to be of this architecture."""
    if not request.HasField("initial"):
        return None
    net = models.unpacked(request.initial, blobs).net
    if net.arch != arch:
        raise InvalidModel(
            f"the initial model is not of profile '{request.profile}' with classes {list(arch.classes)}: "
            "start from a model of that profile and of the data set's classes, or from none"
        )
    return net


def segmented_message(
    image: common_pb2.Image,
    rgb: NDArray[np.uint8],
    segmented: Segmentation,
    request: pb.SegmentRequest,
    blobs: Blobs,
) -> pb.SegmentedImage:
    """Stores an instance map, and the overlay, outlines and ignore mask that were asked for."""
    labels, media_type = encode_instances(segmented.instances)
    dtype = "uint16" if media_type == "image/png" else "uint32"
    shape = segmented.instances.shape
    message = pb.SegmentedImage(
        id=image.id,
        instances=blobs.put(labels, media_type, dtype=dtype, shape=shape),
        nuclei=segmented.count,
        typical_radius=segmented.typical_radius,
        inline_instances=labels if image.inline and len(labels) <= _MAX_INLINE else b"",
    )
    if request.outlines:
        outlines = geojson_writer.feature_collection(
            geojson_writer.nucleus_polygons(segmented.instances, segmented.nuclei()), segmented.classes
        )
        message.outlines.CopyFrom(blobs.put(outlines, "application/geo+json"))
    if request.overlays:
        overlay = encode_png(contours_over(rgb, segmented.instances))
        message.overlay.CopyFrom(blobs.put(overlay, "image/png", dtype="uint8", shape=rgb.shape))
    if segmented.ignore is not None:
        message.ignore.CopyFrom(blobs.put(encode_mask(segmented.ignore), "image/png", dtype="uint8", shape=shape))
    return message


def image_of(pair: pb.EvaluationPair, blobs: Blobs) -> NDArray[np.uint8] | None:
    """The image that a pair is drawn over, if it has one."""
    return decoded(pair.image, blobs) if pair.HasField("image") else None


def evaluation_message(images: Sequence[ImageScores], blobs: Blobs) -> pb.EvaluateResult:
    """Scores by image, their means and intervals, and the figures of the set; pictures, which show the truth, are sealed."""
    summary = scores.summarise(images)
    result = pb.EvaluateResult(
        mean=_scores(summary.mean),
        set=pb.SetScores(pq_plus=summary.pq_plus, detection_f=summary.detection_f, count_error=summary.count_error),
        classes=[
            pb.ClassScores(name=each.name, pq_plus=each.pq, f=each.f, nuclei_true=each.true, nuclei_predicted=each.predicted)
            for each in summary.classes
        ],
    )
    if summary.low and summary.high:
        result.low.CopyFrom(_scores(summary.low))
        result.high.CopyFrom(_scores(summary.high))
    for image in images:
        result.images.add(
            id=image.id,
            scores=_scores(image.scores),
            nuclei_predicted=image.predicted,
            nuclei_true=image.true,
            both_empty=image.scores.both_empty,
            notes=image.notes,
            verdicts=pb.Verdicts(**image.outcomes.counts()),
            overlay=None if image.picture is None else blobs.put(encode_png(image.picture), "image/png", sealed=True),
        )
    return result


def _scores(scores: Scores) -> pb.SegmentationScores:
    return pb.SegmentationScores(**scores.to_dict())


def patch_messages(image_id: str, windows: Iterable[WindowScore]) -> Iterator[pb.PatchScore]:
    """One message per window."""
    for window in windows:
        yield pb.PatchScore(
            image_id=image_id,
            window=common_pb2.Window(x=window.x, y=window.y, width=window.width, height=window.height),
            uncertainty=window.uncertainty,
            nuclei=window.nuclei,
            features=window.features,
        )

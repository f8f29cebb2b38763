"""The HoVer-Net RPCs: decode, one call, encode."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator

import grpc
import torch

from nucleate.errors import EmptyInput
from nucleate.hovernet import profiles
from nucleate.hovernet.evaluation import scores
from nucleate.hovernet.evaluation.window_scores import score_windows
from nucleate.hovernet.segmentation import image_segmentation
from nucleate.hovernet.segmentation.slide_segmentation import SlideSegmenter
from nucleate.hovernet.service import messages, models, slides, torchrun
from nucleate.learning.device import choose_device
from nucleate.pathology.instances import magnification
from nucleate.runtime.jobs import Job
from nucleate.runtime.server import ServiceContext
from nucleate.v1 import hovernet_pb2 as pb
from nucleate.v1 import hovernet_pb2_grpc


class HoverNetServicer(hovernet_pb2_grpc.HoverNetServiceServicer):
    """Implements `nucleate.v1.HoverNetService`.

    Only Evaluate reads through the unfenced view of the store: everything else can never open sealed ground truth.
    """

    def __init__(self, context: ServiceContext) -> None:
        self._sealed = context.blobs
        self._blobs = context.blobs.fenced()
        self._jobs = context.jobs
        self._device = torch.device(choose_device(context.settings.device))
        self._segmenters = models.Segmenters(self._blobs, self._device)
        self._settings = context.settings
        self._processes = getattr(context.settings, "processes", 1)

    def Train(
        self,
        request: pb.HoverNetServiceTrainRequest,
        context: grpc.ServicerContext,  # noqa: ARG002 - gRPC's signature
    ) -> Iterator[pb.HoverNetServiceTrainResponse]:
        """Train on a data set, from scratch or from `initial`."""
        profiles.named(request.profile)
        return self._jobs.stream(request, pb.HoverNetServiceTrainResponse, lambda job: self._train(request, job))

    def Segment(
        self,
        request: pb.SegmentRequest,
        context: grpc.ServicerContext,  # noqa: ARG002 - gRPC's signature
    ) -> Iterator[pb.SegmentResponse]:
        """Find the nuclei of every image, with a model or training-free."""
        _need(request.images, "image to segment")
        return self._jobs.stream(request, pb.SegmentResponse, lambda job: self._segment(request, job))

    def SegmentSlide(
        self,
        request: pb.SegmentSlideRequest,
        context: grpc.ServicerContext,  # noqa: ARG002 - gRPC's signature
    ) -> Iterator[pb.SegmentSlideResponse]:
        """Find the nuclei of a whole-slide image, tile by tile."""
        return self._jobs.stream(request, pb.SegmentSlideResponse, lambda job: self._segment_slide(request, job))

    def Evaluate(
        self,
        request: pb.EvaluateRequest,
        context: grpc.ServicerContext,  # noqa: ARG002 - gRPC's signature
    ) -> Iterator[pb.EvaluateResponse]:
        """Compare predicted with true instance maps."""
        _need(request.pairs, "pair of maps to compare")
        return self._jobs.stream(request, pb.EvaluateResponse, lambda job: self._evaluate(request, job))

    def Export(
        self,
        request: pb.ExportRequest,
        context: grpc.ServicerContext,  # noqa: ARG002 - gRPC's signature
    ) -> pb.ExportResponse:
        """Add the ONNX program to a model that has none."""
        net, _ = models.network_and_profile(request.model, self._blobs, torch.device("cpu"))
        return pb.ExportResponse(model=models.exported(request.model, net, self._blobs))

    def ScorePatches(
        self,
        request: pb.ScorePatchesRequest,
        context: grpc.ServicerContext,  # noqa: ARG002 - gRPC's signature
    ) -> Iterator[pb.ScorePatchesResponse]:
        """Score windows of un-annotated images by how unsure the model is of them."""
        _need(request.images, "image to score")
        return self._jobs.stream(request, pb.ScorePatchesResponse, lambda job: self._score(request, job))

    def _train(self, request: pb.HoverNetServiceTrainRequest, job: Job) -> pb.HoverNetServiceTrainResult:
        count = torchrun.processes(self._processes, self._device.type)
        if count > 1:
            return torchrun.train(request, self._settings, self._device.type, count, job)
        return messages.trained(request, self._blobs, job, self._device)

    def _segment(self, request: pb.SegmentRequest, job: Job) -> pb.SegmentResult:
        segmenter = self._segmenters.named(request)
        result = pb.SegmentResult.FromString(job.restored() or b"")
        total = len(request.images)
        for image in request.images[len(result.images) :]:
            job.progress(len(result.images), total, f"segmenting {image.id}")
            rgb, microns = messages.decoded(image, self._blobs), request.microns_per_pixel
            segmented = image_segmentation.segment(
                segmenter, rgb, f"image '{image.id}'", ignore=request.ignore_masks, microns=microns
            )
            message = messages.segmented_message(image, rgb, segmented, request, self._blobs)
            result.images.append(message)
            job.checkpoint(result.SerializeToString())
            job.progress(len(result.images), total, f"segmented {image.id}", nuclei=float(segmented.count))
        factor = magnification.scale_to_40x(request.microns_per_pixel, "the images")
        result.warning = magnification.magnification_warning([image.typical_radius * factor for image in result.images])
        return result

    def _segment_slide(self, request: pb.SegmentSlideRequest, job: Job) -> pb.SegmentSlideResult:
        segmenter = self._segmenters.trained(request.model, request.views)
        with slides.opened(request, self._blobs) as (slide, microns):
            return slides.segment(slide, SlideSegmenter(slide, segmenter, microns), segmenter.classes, self._blobs, job)

    def _evaluate(self, request: pb.EvaluateRequest, job: Job) -> pb.EvaluateResult:
        images = []
        for done, pair in enumerate(request.pairs, start=1):
            draw = functools.partial(messages.image_of, pair, self._sealed) if request.overlays else None
            images.append(scores.score(pair.id, self._sealed.get(pair.predicted), self._sealed.get(pair.truth), draw))
            job.progress(done, len(request.pairs), f"evaluating {pair.id}", aji=images[-1].scores.aji, pq=images[-1].scores.pq)
        return messages.evaluation_message(images, self._sealed)

    def _score(self, request: pb.ScorePatchesRequest, job: Job) -> pb.ScorePatchesResult:
        net, profile = models.network_and_profile(request.model, self._blobs, self._device)
        tiling = dataclasses.replace(profile.tiling, views=profile.tiling.views[:1])  # scores only rank: one view will do
        result = pb.ScorePatchesResult.FromString(job.restored() or b"")
        done = len({patch.image_id for patch in result.patches})
        for image in request.images[done:]:
            rgb = messages.decoded(image, self._blobs)
            windows = score_windows(net, rgb, request.size, request.stride, tiling, profile.post)
            result.patches.extend(messages.patch_messages(image.id, windows))
            done += 1
            job.checkpoint(result.SerializeToString())
            job.progress(done, len(request.images), f"scoring {image.id}", windows=float(len(windows)))
        return result


def _need(entries: object, what: str) -> None:
    if not entries:
        raise EmptyInput(f"the request has no {what}: send at least one")


def register(server: grpc.Server, context: ServiceContext) -> None:
    """Add the service to a server."""
    hovernet_pb2_grpc.add_HoverNetServiceServicer_to_server(HoverNetServicer(context), server)

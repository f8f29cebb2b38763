"""The colour normalization RPCs: decode, one call, encode."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import numpy as np
import torch

from nucleate.colornorm import model_file, slide_normalization
from nucleate.colornorm.colornormnet.network import Shape
from nucleate.colornorm.colornormnet.thumbnails import target_patches
from nucleate.colornorm.colornormnet.training import train
from nucleate.colornorm.colornormnet.training_state import TrainingState
from nucleate.colornorm.methods.registry import NORMALIZED, ONE_STAIN, REASONS
from nucleate.colornorm.methods.tissue_weights import sample_tissue
from nucleate.colornorm.profiles import profile_named
from nucleate.colornorm.service import messages
from nucleate.colornorm.service.settings import ColorNormSettings
from nucleate.errors import EmptyInput, InvalidImage
from nucleate.learning.device import choose_device
from nucleate.pathology.images.codec import decode_image
from nucleate.runtime.jobs import Job
from nucleate.runtime.server import ServiceContext
from nucleate.v1 import colornorm_pb2 as pb
from nucleate.v1 import colornorm_pb2_grpc, common_pb2

_CHECKPOINT_EVERY = 16
_PATCHES = 0xC0102  # keeps the stream of the patches apart from that of the steps


class ColorNormServicer(colornorm_pb2_grpc.ColorNormServiceServicer):
    """Implements `nucleate.v1.ColorNormService`; sees the store through the fence that keeps ground truth out."""

    def __init__(self, context: ServiceContext, settings: ColorNormSettings) -> None:
        self._blobs = context.blobs.fenced()
        self._jobs = context.jobs
        self._device = torch.device(choose_device(settings.device))

    def ListMethods(
        self,
        request: pb.ListMethodsRequest,  # noqa: ARG002 - gRPC's signature
        context: grpc.ServicerContext,  # noqa: ARG002
    ) -> pb.ListMethodsResponse:
        """All methods with what they cost."""
        return pb.ListMethodsResponse(methods=messages.method_infos())

    def Fit(
        self,
        request: pb.FitRequest,
        context: grpc.ServicerContext,  # noqa: ARG002 - gRPC's signature
    ) -> pb.FitResponse:
        """Fit a classical method to a target image."""
        method = messages.method_of(request.method)
        _need_target(request)
        fitted = messages.fitted(method, request.target, self._blobs)
        model = model_file.pack_fitted(fitted, dataset_digest=request.target.data.sha256)
        return pb.FitResponse(model=messages.stored(model, self._blobs))

    def Train(
        self,
        request: pb.ColorNormServiceTrainRequest,
        context: grpc.ServicerContext,  # noqa: ARG002 - gRPC's signature
    ) -> Iterator[pb.ColorNormServiceTrainResponse]:
        """Train ColorNormNet on one target image."""
        profile_named(request.profile)
        messages.mode_of(request)
        _need_target(request)
        return self._jobs.stream(request, pb.ColorNormServiceTrainResponse, lambda job: self._train(request, job))

    def Normalize(
        self,
        request: pb.NormalizeRequest,
        context: grpc.ServicerContext,  # noqa: ARG002 - gRPC's signature
    ) -> Iterator[pb.NormalizeResponse]:
        """Give every image the target's stain; images without stain come back as they are, with the reason."""
        messages.checked(request)
        return self._jobs.stream(request, pb.NormalizeResponse, lambda job: self._normalize(request, job))

    def NormalizeSlide(
        self,
        request: pb.NormalizeSlideRequest,
        context: grpc.ServicerContext,  # noqa: ARG002 - gRPC's signature
    ) -> Iterator[pb.NormalizeSlideResponse]:
        """Give a whole slide the target's stain."""
        messages.checked(request)
        return self._jobs.stream(request, pb.NormalizeSlideResponse, lambda job: self._normalize_slide(request, job))

    def _train(self, request: pb.ColorNormServiceTrainRequest, job: Job) -> pb.ColorNormServiceTrainResult:
        profile = profile_named(request.profile)
        name = f"target '{request.target.id}'"
        target_HW3 = decode_image(self._blobs.content(request.target), name)
        examined = sample_tissue(target_HW3)
        if examined.status:
            why = f"{examined.status}: {REASONS[examined.status]}"
            raise InvalidImage(f"{name} has no stain to take over ({why}): choose one with H&E tissue")
        rng = np.random.default_rng([request.seed, _PATCHES])
        patches = target_patches(target_HW3, examined, profile.patches, profile.thumbnail, rng)
        shape = Shape(profile.widths, messages.mode_of(request), not request.fixed_green)
        state = TrainingState(profile, shape, request.seed, self._device)
        checkpoint = job.restored()
        if checkpoint is not None:
            state.restore(checkpoint)
        metrics = train(
            patches,
            profile,
            state,
            request.seed,
            on_step=lambda step, losses: job.progress(step, profile.steps, "training ColorNormNet", **losses),
            on_checkpoint=job.checkpoint,
        )
        model = model_file.pack(state.network, profile, dataset_digest=request.target.data.sha256, metrics=metrics)
        return pb.ColorNormServiceTrainResult(model=messages.stored(model, self._blobs), metrics=metrics)

    def _normalize(self, request: pb.NormalizeRequest, job: Job) -> pb.NormalizeResult:
        by = messages.normalizer(request, self._blobs, self._device)
        result = pb.NormalizeResult.FromString(job.restored() or b"")
        for restored in result.images:
            job.part(restored)
        total = len(request.images)
        for index in range(len(result.images), total):
            image = request.images[index]
            result.images.append(messages.normalized(image, by, self._blobs))
            job.part(result.images[-1])
            job.progress(index + 1, total, f"normalizing {image.id}")
            if (index + 1) % _CHECKPOINT_EVERY == 0:
                job.checkpoint(result.SerializeToString())
        return result

    def _normalize_slide(self, request: pb.NormalizeSlideRequest, job: Job) -> pb.NormalizeSlideResult:
        by = messages.normalizer(request, self._blobs, self._device)
        with messages.slide_file(request.slide, self._blobs) as (slide, path):
            total = slide_normalization.tiles_of(slide)
            job.progress(0, total, "measuring the slide")
            examined, measured = slide_normalization.measure(by, slide)
            if measured is None:
                return pb.NormalizeSlideResult(slide=request.slide, status=examined.status or ONE_STAIN)
            slide_normalization.write(
                path,
                slide,
                lambda tile: by.apply(tile, examined, measured),
                lambda done: job.progress(done, total, "normalizing the slide"),
            )
            blob = self._blobs.put_file(path, "image/tiff")
            seen = slide_normalization.overview(slide, lambda whole: by.apply(whole, examined, measured))
        return pb.NormalizeSlideResult(
            slide=common_pb2.Image(id=request.slide.id, data=blob),
            status=NORMALIZED,
            overview=messages.picture(seen, self._blobs),
        )


def _need_target(request: pb.FitRequest | pb.ColorNormServiceTrainRequest) -> None:
    if not request.HasField("target"):
        raise EmptyInput("the request has no target: send the image whose stain the others shall get")

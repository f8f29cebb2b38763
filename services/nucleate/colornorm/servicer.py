"""The colour normalization RPCs: decode, one call, encode."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import grpc
import numpy as np
import torch
from numpy.typing import NDArray

from nucleate.colornorm.apply import add_offsets, predict_offsets
from nucleate.colornorm.background import Slide, examine
from nucleate.colornorm.model_file import pack, unpack
from nucleate.colornorm.profiles import profile_named
from nucleate.colornorm.reinhard import lab_statistics, normalize_reinhard
from nucleate.colornorm.settings import ColorNormSettings
from nucleate.colornorm.state import TrainingState
from nucleate.colornorm.thumbnails import target_patches
from nucleate.colornorm.training import train
from nucleate.errors import EmptyInput, InvalidImage, InvalidInput, InvalidModel
from nucleate.learning.device import choose_device
from nucleate.learning.model_file import ModelBytes
from nucleate.pathology.codec import decode_image, encode_png
from nucleate.runtime.jobs import Job
from nucleate.runtime.server import ServiceContext
from nucleate.v1 import colornorm_pb2 as pb
from nucleate.v1 import colornorm_pb2_grpc, common_pb2

NORMALIZED = "normalized"
_CHECKPOINT_EVERY = 16
_PATCHES = 0xC0102  # keeps the stream of the patches apart from that of the steps
Normalizer = Callable[[NDArray[np.uint8], Slide], NDArray[np.uint8]]


class ColorNormServicer(colornorm_pb2_grpc.ColorNormServiceServicer):
    """Implements `nucleate.v1.ColorNormService`; sees the store through the fence that keeps ground truth out."""

    def __init__(self, context: ServiceContext, settings: ColorNormSettings) -> None:
        self._blobs = context.blobs.fenced()
        self._jobs = context.jobs
        self._green = settings.green
        self._device = torch.device(choose_device(settings.device))

    def Train(
        self,
        request: pb.ColorNormServiceTrainRequest,
        context: grpc.ServicerContext,  # noqa: ARG002 - gRPC's signature
    ) -> Iterator[pb.ColorNormServiceTrainResponse]:
        """Train ColorNormNet on one target image."""
        profile_named(request.profile)
        if not request.HasField("target"):
            raise EmptyInput("colornorm training got no target: send the image whose stain the others shall get")
        return self._jobs.stream(request, pb.ColorNormServiceTrainResponse, lambda job: self._train(request, job))

    def Normalize(
        self,
        request: pb.NormalizeRequest,
        context: grpc.ServicerContext,  # noqa: ARG002 - gRPC's signature
    ) -> Iterator[pb.NormalizeResponse]:
        """Give every image the target's stain; images without stain come back as they are, with the reason."""
        _check(request)
        return self._jobs.stream(request, pb.NormalizeResponse, lambda job: self._normalize(request, job))

    def _train(self, request: pb.ColorNormServiceTrainRequest, job: Job) -> pb.ColorNormServiceTrainResult:
        profile = profile_named(request.profile)
        target_HW3, slide = self._target(request.target)
        rng = np.random.default_rng([request.seed, _PATCHES])
        patches = target_patches(target_HW3, slide, profile.patches, profile.thumbnail, rng)
        state = TrainingState(profile, self._green, request.seed, self._device)
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
        digest = request.target.data.sha256
        model = pack(state.network, profile, green=self._green, dataset_digest=digest, metrics=metrics)
        return pb.ColorNormServiceTrainResult(model=self._put_model(model), metrics=metrics)

    def _normalize(self, request: pb.NormalizeRequest, job: Job) -> pb.NormalizeResult:
        normalizer = self._normalizer(request)
        result = pb.NormalizeResult.FromString(job.restored() or b"")
        total = len(request.images)
        for index in range(len(result.images), total):
            image = request.images[index]
            result.images.append(self._normalized(image, normalizer))
            job.progress(index + 1, total, f"normalizing {image.id}")
            if (index + 1) % _CHECKPOINT_EVERY == 0:
                job.checkpoint(result.SerializeToString())
        return result

    def _normalizer(self, request: pb.NormalizeRequest) -> Normalizer:
        if request.method == pb.NORMALIZATION_METHOD_REINHARD:
            target = lab_statistics(self._target(request.target)[1])
            return lambda rgb, slide: normalize_reinhard(rgb, slide, target)
        files = {name: self._blobs.get(blob) for name, blob in request.model.files.items()}
        network, config = unpack(ModelBytes(card=self._blobs.get(request.model.card), files=files))
        network.to(self._device)
        return lambda rgb, slide: add_offsets(rgb, slide, predict_offsets(network, rgb, slide, config.thumbnail))

    def _normalized(self, image: common_pb2.Image, normalizer: Normalizer) -> pb.NormalizedImage:
        rgb_HW3 = decode_image(self._blobs.get(image.data), f"image '{image.id}'")
        slide = examine(rgb_HW3)
        if slide.status:
            return pb.NormalizedImage(image=image, status=slide.status)
        normalized_HW3 = normalizer(rgb_HW3, slide)
        blob = self._blobs.put(encode_png(normalized_HW3), "image/png", dtype="uint8", shape=normalized_HW3.shape)
        return pb.NormalizedImage(image=common_pb2.Image(id=image.id, data=blob), status=NORMALIZED)

    def _target(self, target: common_pb2.Image) -> tuple[NDArray[np.uint8], Slide]:
        rgb_HW3 = decode_image(self._blobs.get(target.data), f"target '{target.id}'")
        slide = examine(rgb_HW3)
        if slide.status:
            raise InvalidImage(f"target '{target.id}' has no stain to take over ({slide.status}): choose one with H&E tissue")
        return rgb_HW3, slide

    def _put_model(self, model: ModelBytes) -> common_pb2.Model:
        files = {name: self._blobs.put(data, "application/vnd.safetensors") for name, data in model.files.items()}
        return common_pb2.Model(kind="colornorm", card=self._blobs.put(model.card, "application/json"), files=files)


def _check(request: pb.NormalizeRequest) -> None:
    if not request.images:
        raise EmptyInput("normalize got no images: send at least one")
    if request.method == pb.NORMALIZATION_METHOD_REINHARD:
        if not request.HasField("target"):
            raise InvalidInput("normalize by Reinhard needs a target: send the image whose colours the others shall get")
    elif request.method == pb.NORMALIZATION_METHOD_COLORNORMNET:
        if not request.model.files:
            raise InvalidModel("normalize by ColorNormNet needs a model: send the one that ColorNormService.Train returned")
    else:
        raise InvalidInput(f"normalize: method {request.method} is unknown: choose REINHARD or COLORNORMNET")

"""The refiner RPCs: decode, one call, encode."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import grpc
import numpy as np
import torch
from numpy.typing import NDArray

from nucleate.errors import EmptyInput, InvalidModel
from nucleate.learning import checkpoint
from nucleate.learning.device import choose_device
from nucleate.learning.model_file import ModelBytes
from nucleate.pathology.images.codec import decode_image, decode_instances, encode_instances, encode_png
from nucleate.pathology.images.overlays import contours_over, mosaic
from nucleate.refiner.inference import refine_image
from nucleate.refiner.mask_gate.gate import verify_refinement
from nucleate.refiner.model_file import metrics_of, pack, unpack
from nucleate.refiner.networks import Discriminator, Refiner
from nucleate.refiner.profiles import Profile
from nucleate.refiner.service.messages import dataset_digest, nucleus_message, profile_of, verdict_message
from nucleate.refiner.service.settings import RefinerSettings
from nucleate.refiner.singan.pipeline import harmonize_composite
from nucleate.refiner.singan.settings import Settings, settings_named
from nucleate.refiner.training.crops import SyntheticImage, TrainingImages
from nucleate.refiner.training.importance_weights import Calibration, image_logit, importance_weights
from nucleate.refiner.training.loop import train
from nucleate.refiner.training.state import TrainingState
from nucleate.runtime.jobs import Job
from nucleate.runtime.server import ServiceContext
from nucleate.v1 import common_pb2, refiner_pb2_grpc
from nucleate.v1 import refiner_pb2 as pb

_CHECKPOINT_EVERY = 16


class RefinerServicer(refiner_pb2_grpc.RefinerServiceServicer):
    """Implements `nucleate.v1.RefinerService`; sees the store through the fence that keeps ground truth out."""

    def __init__(self, context: ServiceContext, settings: RefinerSettings) -> None:
        self._blobs = context.blobs.fenced()
        self._jobs = context.jobs
        self._settings = settings
        self._device = torch.device(choose_device(settings.device))

    def Train(
        self,
        request: pb.RefinerServiceTrainRequest,
        context: grpc.ServicerContext,  # noqa: ARG002 - gRPC's signature
    ) -> Iterator[pb.RefinerServiceTrainResponse]:
        """Train a refiner on synthetic pairs and un-annotated real images."""
        profile = profile_of(request)
        if not request.synthetic or not request.real:
            missing = "real" if request.synthetic else "synthetic"
            raise EmptyInput(f"refiner training got no {missing} images: send at least one")
        return self._jobs.stream(request, pb.RefinerServiceTrainResponse, lambda job: self._train(request, profile, job))

    def Refine(
        self,
        request: pb.RefineRequest,
        context: grpc.ServicerContext,  # noqa: ARG002 - gRPC's signature
    ) -> Iterator[pb.RefineResponse]:
        """Refine each sample; where the gate refuses, the sample comes back as it was."""
        if not request.synthetic:
            raise EmptyInput("refine got no synthetic images: send at least one")
        if not request.model.files:
            raise InvalidModel("refine got no model: send the one that RefinerService.Train returned")
        return self._jobs.stream(request, pb.RefineResponse, lambda job: self._refine(request, job))

    def Harmonize(
        self,
        request: pb.HarmonizeRequest,
        context: grpc.ServicerContext,  # noqa: ARG002 - gRPC's signature
    ) -> Iterator[pb.HarmonizeResponse]:
        """Blend pasted nuclei into one image, and keep, measure anew or give up each of their masks."""
        settings = settings_named(request.preset)
        if not request.pasted:
            raise EmptyInput("harmonization got no pasted labels: name the nuclei to blend")
        return self._jobs.stream(request, pb.HarmonizeResponse, lambda job: self._harmonize(request, settings, job))

    def _harmonize(self, request: pb.HarmonizeRequest, settings: Settings, job: Job) -> pb.HarmonizeResult:
        composite = self._synthetic(request.composite)
        saved = job.restored()
        outcome = harmonize_composite(
            decode_image(self._blobs.content(request.image), f"image '{request.image.id}'"),
            composite.rgb,
            composite.instances,
            list(request.pasted),
            settings,
            request.seed,
            inject_scale=request.inject_scale or None,
            device=self._device,
            saved=checkpoint.read(saved, "SinGAN") if saved else None,
            on_step=lambda step, total, losses: job.progress(step, total, "learning the image", **losses),
            on_scale=lambda tensors: job.checkpoint(checkpoint.to_bytes(tensors)),
        )
        picture = mosaic([[composite.rgb, outcome.image, contours_over(outcome.image, outcome.instances)]])
        labels, media_type = encode_instances(outcome.instances)
        return pb.HarmonizeResult(
            sample=common_pb2.LabelledImage(
                id=request.composite.id,
                image=self._blobs.put(encode_png(outcome.image), "image/png", dtype="uint8", shape=outcome.image.shape),
                instances=self._blobs.put(labels, media_type, shape=outcome.instances.shape),
            ),
            nuclei=[nucleus_message(verdict) for verdict in outcome.nuclei],
            preview=self._blobs.put(encode_png(picture), "image/png"),
        )

    def _train(self, request: pb.RefinerServiceTrainRequest, profile: Profile, job: Job) -> pb.RefinerServiceTrainResult:
        images = TrainingImages(
            synthetic=[self._synthetic(sample) for sample in request.synthetic],
            real=[decode_image(self._blobs.get(image.data), f"image '{image.id}'") for image in request.real],
        )
        state = TrainingState(profile, request.seed, self._device)
        if request.HasField("initial"):
            state.start_from(*unpack(self._model_bytes(request.initial)))
        saved = job.restored()
        if saved is not None:
            state.restore(saved)
        metrics = train(
            images,
            profile,
            state,
            request.seed,
            on_step=lambda step, losses: job.progress(step, profile.steps, "training the refiner", **losses),
            on_checkpoint=job.checkpoint,
        )
        model = pack(
            state.average,
            state.discriminator,
            profile,
            dataset_digest=dataset_digest(request),
            parent=request.initial.card.sha256,
            metrics=metrics,
        )
        return pb.RefinerServiceTrainResult(model=self._put_model(model), metrics=metrics)

    def _refine(self, request: pb.RefineRequest, job: Job) -> pb.RefineResult:
        model = self._model_bytes(request.model)
        refiner, discriminator = unpack(model)
        refiner.to(self._device)
        result = pb.RefineResult.FromString(job.restored() or b"")
        total = len(request.synthetic)
        for index in range(len(result.samples), total):
            result.samples.append(self._refined(request.synthetic[index], refiner))
            refused = sum(not sample.gate.accepted for sample in result.samples)
            job.progress(index + 1, total, f"refining {request.synthetic[index].id}", refused=float(refused))
            if (index + 1) % _CHECKPOINT_EVERY == 0:
                job.checkpoint(result.SerializeToString())
        if request.importance:
            self._weigh(result, discriminator.to(self._device).eval(), Calibration.from_metrics(metrics_of(model.card)), job)
        if request.preview:
            picture = encode_png(self._preview(request.synthetic, result.samples))
            result.preview.CopyFrom(self._blobs.put(picture, "image/png"))
        return result

    def _refined(self, sample: common_pb2.LabelledImage, refiner: Refiner) -> pb.RefinedImage:
        synthetic = self._synthetic(sample)
        refined_HW3 = refine_image(refiner, synthetic.rgb)
        verdict = verify_refinement(synthetic.rgb, refined_HW3, synthetic.instances)
        kept = common_pb2.LabelledImage(id=sample.id, image=sample.image, instances=sample.instances)
        if verdict.accepted:
            png = encode_png(refined_HW3)
            kept.image.CopyFrom(self._blobs.put(png, "image/png", dtype="uint8", shape=refined_HW3.shape))
        return pb.RefinedImage(sample=kept, gate=verdict_message(verdict), weight=1.0)

    def _weigh(self, result: pb.RefineResult, discriminator: Discriminator, calibration: Calibration | None, job: Job) -> None:
        """Give every image its importance weight, or say why none has one."""
        logits: list[float] = []
        for each in result.samples:
            job.progress(len(logits), len(result.samples), "weighing images")
            logits.append(image_logit(discriminator, decode_image(self._blobs.get(each.sample.image), each.sample.id)))
        weights = importance_weights(np.array(logits), calibration)
        for each, value in zip(result.samples, weights.values, strict=True):
            each.weight = value
        result.effective_sample_size, result.importance_off = weights.effective, weights.off

    def _synthetic(self, sample: common_pb2.LabelledImage) -> SyntheticImage:
        name = f"image '{sample.id}'"
        rgb = decode_image(self._blobs.get(sample.image), name)
        return SyntheticImage(name, rgb, decode_instances(self._blobs.get(sample.instances), f"instance map of {name}"))

    def _preview(self, before: Sequence[common_pb2.LabelledImage], after: Sequence[pb.RefinedImage]) -> NDArray[np.uint8]:
        side = self._settings.preview_side
        pairs = list(zip(before, after, strict=True))[: self._settings.preview_pairs]
        columns = [
            [decode_image(self._blobs.get(blob), old.id)[:side, :side] for blob in (old.image, new.sample.image)]
            for old, new in pairs
        ]
        return mosaic(list(zip(*columns, strict=True)))

    def _model_bytes(self, model: common_pb2.Model) -> ModelBytes:
        files = {name: self._blobs.get(blob) for name, blob in model.files.items()}
        return ModelBytes(card=self._blobs.get(model.card), files=files)

    def _put_model(self, model: ModelBytes) -> common_pb2.Model:
        files = {name: self._blobs.put(data, "application/vnd.safetensors") for name, data in model.files.items()}
        return common_pb2.Model(kind="refiner", card=self._blobs.put(model.card, "application/json"), files=files)

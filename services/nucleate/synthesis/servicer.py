"""The synthesis RPC: decode, one call, encode."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import grpc

from nucleate.errors import EmptyInput, InvalidInput, TooLarge
from nucleate.pathology.codec import decode_image, encode_instances, encode_png
from nucleate.pathology.drawing import mosaic
from nucleate.runtime.blobs import Blobs
from nucleate.runtime.jobs import Job
from nucleate.runtime.server import ServiceContext
from nucleate.synthesis.batch import Batch, ReferenceCache, Source
from nucleate.synthesis.generate import Synthetic
from nucleate.synthesis.profiles import profile_named
from nucleate.synthesis.realism.assess import Picture, assess
from nucleate.synthesis.settings import SynthesisSettings
from nucleate.v1 import common_pb2, synthesis_pb2_grpc
from nucleate.v1 import synthesis_pb2 as pb

#: The result is one message of at most 4 MiB, and names every sample.
MAX_COUNT = 5000
_CHECKPOINT_EVERY = 16
DEFAULT_CROPS, MAX_CROPS = 24, 400
#: Pictures in each row of a contact sheet, and the pixels shown of each.
SHEET_PICTURES, SHEET_SIDE = 6, 256


class SynthesisServicer(synthesis_pb2_grpc.SynthesisServiceServicer):
    """Implements `nucleate.v1.SynthesisService`."""

    def __init__(self, context: ServiceContext) -> None:
        settings = context.settings
        assert isinstance(settings, SynthesisSettings)
        self._blobs = context.blobs.fenced()
        self._jobs = context.jobs
        self._workers = settings.workers
        self._cache = ReferenceCache(settings.cached_references)

    def Synthesize(
        self,
        request: pb.SynthesizeRequest,
        context: grpc.ServicerContext,  # noqa: ARG002 - gRPC's signature
    ) -> Iterator[pb.SynthesizeResponse]:
        """Draw `request.count` images with their instance maps."""
        batch = self._batch(request)
        return self._jobs.stream(request, pb.SynthesizeResponse, lambda job: _synthesize(batch, self._blobs, job))

    def MeasureRealism(
        self,
        request: pb.MeasureRealismRequest,
        context: grpc.ServicerContext,  # noqa: ARG002 - gRPC's signature
    ) -> Iterator[pb.MeasureRealismResponse]:
        """Compare `request.synthetic` with `request.real`."""
        if request.crops > MAX_CROPS:
            raise TooLarge(f"{request.crops} crops an image are over {MAX_CROPS}: ask for fewer")
        return self._jobs.stream(request, pb.MeasureRealismResponse, lambda job: self._realism(request, job))

    def _realism(self, request: pb.MeasureRealismRequest, job: Job) -> pb.MeasureRealismResult:
        real = [self._picture(image, image.id) for image in request.real]
        synthetic = [self._picture(each.image, each.source) for each in request.synthetic]
        total = len(real) + len(synthetic)
        figures = assess(
            real,
            synthetic,
            request.crops or DEFAULT_CROPS,
            request.seed,
            lambda done: job.progress(done, total, "measuring images"),
        )
        sheet = mosaic(
            [[picture.rgb[:SHEET_SIDE, :SHEET_SIDE] for picture in side[:SHEET_PICTURES]] for side in (real, synthetic)]
        )
        return pb.MeasureRealismResult(
            figures=self._blobs.put(json.dumps(figures, sort_keys=True).encode(), "application/json"),
            sheet=self._blobs.put(encode_png(sheet), "image/png"),
        )

    def _picture(self, image: common_pb2.Image, source: str) -> Picture:
        return Picture(decode_image(self._blobs.get(image.data), f"image '{image.id}'"), source)

    def _batch(self, request: pb.SynthesizeRequest) -> Batch:
        if not request.images:
            raise EmptyInput("synthesis got no images: send at least one un-annotated H&E image")
        if not request.count:
            raise InvalidInput("count is 0: ask for at least one synthetic image")
        if request.count > MAX_COUNT:
            raise TooLarge(f"count {request.count} is over {MAX_COUNT}: ask in several calls, each with its own seed")
        profile = profile_named(request.profile).sized(request.size)
        sources = [self._source(image) for image in request.images]
        return Batch(sources, request.count, request.seed, profile, self._workers, self._cache)

    def _source(self, image: common_pb2.Image) -> Source:
        name = f"image '{image.id}'"
        return Source(name, image.data.sha256, lambda: decode_image(self._blobs.get(image.data), name))


def register(server: grpc.Server, context: ServiceContext) -> None:
    """Add the service to a server whose settings are `SynthesisSettings`."""
    synthesis_pb2_grpc.add_SynthesisServiceServicer_to_server(SynthesisServicer(context), server)


def _synthesize(batch: Batch, blobs: Blobs, job: Job) -> pb.SynthesizeResult:
    batch.check()
    result, provenance = _restored(job)
    described: list[dict[str, Any]] = []
    for group in batch.groups():
        done = (entry["index"] for entry in provenance)
        for image in batch.images(len(described), group, done):
            _add(result, provenance, image, blobs)
            if len(provenance) % _CHECKPOINT_EVERY == 0:
                job.checkpoint(_packed(result, provenance))
            job.progress(len(provenance), batch.count, "drawing images", nuclei=float(result.nuclei_placed))
        described += [reference.describe() for reference in group]
    ordered = sorted(result.samples, key=lambda sample: sample.id)
    del result.samples[:]
    result.samples.extend(ordered)
    document = {"references": described, "images": sorted(provenance, key=lambda entry: int(entry["index"]))}
    result.statistics.CopyFrom(blobs.put(json.dumps(document, sort_keys=True).encode(), "application/json"))
    return result


def _add(result: pb.SynthesizeResult, provenance: list[dict[str, Any]], image: Synthetic, blobs: Blobs) -> None:
    labels, media_type = encode_instances(image.instances)
    dtype = "uint16" if media_type == "image/png" else "uint32"
    sample = result.samples.add(id=f"synthetic-{image.provenance['index']:05d}")
    sample.image.CopyFrom(blobs.put(encode_png(image.image), "image/png", dtype="uint8", shape=image.image.shape))
    sample.instances.CopyFrom(blobs.put(labels, media_type, dtype=dtype, shape=image.instances.shape))
    result.nuclei_requested += image.requested
    result.nuclei_placed += image.placed
    provenance.append(image.provenance | {"id": sample.id, "image": sample.image.sha256, "instances": sample.instances.sha256})


def _packed(result: pb.SynthesizeResult, provenance: list[dict[str, Any]]) -> bytes:
    """A checkpoint: the provenance as one line of JSON, then the result so far."""
    return json.dumps(provenance).encode() + b"\n" + result.SerializeToString()


def _restored(job: Job) -> tuple[pb.SynthesizeResult, list[dict[str, Any]]]:
    provenance, _, result = (job.restored() or b"[]\n").partition(b"\n")
    return pb.SynthesizeResult.FromString(result), json.loads(provenance)

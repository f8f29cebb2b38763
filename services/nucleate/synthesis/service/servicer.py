"""The synthesis RPC: decode, one call, encode."""

from __future__ import annotations

import hashlib
import json
from functools import partial
from typing import Any

import grpc

from nucleate.errors import EmptyInput, InvalidInput, TooLarge
from nucleate.pathology.images.codec import decode_image, encode_png
from nucleate.pathology.images.overlays import mosaic
from nucleate.runtime.jobs import Job, Work, job_rpc
from nucleate.runtime.server import ServiceContext
from nucleate.synthesis.generation.batch import Batch, ReferenceCache, Source
from nucleate.synthesis.generation.synthetic_image import synthesize
from nucleate.synthesis.profiles import Profile, profile_named
from nucleate.synthesis.realism.assess import Picture, assess
from nucleate.synthesis.service.messages import KnownStatistics, draw, preview_message
from nucleate.synthesis.service.settings import SynthesisSettings
from nucleate.v1 import common_pb2, synthesis_pb2_grpc
from nucleate.v1 import synthesis_pb2 as pb

#: The result is one message of at most 4 MiB, and names every sample.
MAX_COUNT = 5000
#: A preview is one message of at most 4 MiB, and shows the image three times.
MAX_PREVIEW = 512
DEFAULT_CROPS, MAX_CROPS = 24, 400
#: Pictures in each row of a contact sheet, and the pixels shown of each.
SHEET_PICTURES, SHEET_SIDE = 6, 256


class SynthesisServicer(synthesis_pb2_grpc.SynthesisServiceServicer):
    """Implements `nucleate.v1.SynthesisService`."""

    def __init__(self, context: ServiceContext[SynthesisSettings]) -> None:
        self._blobs = context.blobs.fenced()
        self._known = KnownStatistics(self._blobs)
        self.jobs = context.jobs
        self._workers = context.settings.compute_threads
        self._cache = ReferenceCache(context.settings.cached_references)

    @job_rpc(pb.SynthesizeResponse)
    def Synthesize(self, request: pb.SynthesizeRequest) -> Work:
        """Draw `request.count` images with their instance maps."""
        return partial(draw, self._batch(request), self._blobs)

    def Preview(self, request: pb.PreviewRequest, context: grpc.ServicerContext) -> pb.PreviewResponse:
        """Draw one pair, inline; nothing is stored."""
        if request.size > MAX_PREVIEW:
            raise TooLarge(f"a preview of {request.size} px is over {MAX_PREVIEW}: ask for a smaller size, or use Synthesize")
        profile = profile_named(request.profile)
        profile = profile.sized(request.size or min(profile.size, MAX_PREVIEW))
        reference = self._cache.get(self._source(request.image), profile)
        return preview_message(synthesize(reference, request.index, request.seed, profile))

    @job_rpc(pb.DescribeResponse)
    def Describe(self, request: pb.DescribeRequest) -> Work:
        """Measure `request.images`, or look up what was measured before."""
        if not request.images:
            raise EmptyInput("nothing to describe: send at least one un-annotated H&E image")
        return partial(self._described, request, profile_named(request.profile))

    def _described(self, request: pb.DescribeRequest, profile: Profile, job: Job) -> pb.DescribeResult:
        result = pb.DescribeResult()
        entries: list[dict[str, Any]] = []
        for image in request.images:
            job.progress(len(entries), len(request.images), "measuring images")
            source = self._read_source(image)
            entry = self._known.find(source, profile)
            result.known += entry is not None
            entry = entry or self._known.measure(source, profile, partial(self._cache.get, source, profile))
            result.described += "skipped" not in entry
            entries.append({"id": image.id, **entry})
        document = json.dumps({"references": entries}, sort_keys=True).encode()
        result.statistics.CopyFrom(self._blobs.put(document, "application/json"))
        return result

    @job_rpc(pb.MeasureRealismResponse)
    def MeasureRealism(self, request: pb.MeasureRealismRequest) -> Work:
        """Compare `request.synthetic` with `request.real`."""
        if request.crops > MAX_CROPS:
            raise TooLarge(f"{request.crops} crops an image are over {MAX_CROPS}: ask for fewer")
        return partial(self._realism, request)

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
        if request.HasField("restained"):
            profile = profile.stained(request.restained)
        sources = [self._source(image) for image in request.images]
        return Batch(sources, request.count, request.seed, profile, self._workers, self._cache, request.first)

    def _read_source(self, image: common_pb2.Image) -> Source:
        """The source of bytes that are there, by their own digest: none that a caller gives is believed."""
        name, data = f"image '{image.id}'", self._blobs.content(image)
        return Source(name, hashlib.sha256(data).hexdigest(), lambda: decode_image(data, name))

    def _source(self, image: common_pb2.Image) -> Source:
        name = f"image '{image.id}'"
        digest = hashlib.sha256(image.inline).hexdigest() if image.inline else image.data.sha256
        return Source(name, digest, lambda: decode_image(self._blobs.content(image), name))


def register(server: grpc.Server, context: ServiceContext[SynthesisSettings]) -> None:
    """Add the service to a server."""
    synthesis_pb2_grpc.add_SynthesisServiceServicer_to_server(SynthesisServicer(context), server)

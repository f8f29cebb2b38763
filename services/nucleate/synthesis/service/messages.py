"""Between messages, the store and the service's own values."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from nucleate.errors import InvalidImage, NotFound
from nucleate.pathology.images.codec import encode_instances, encode_png
from nucleate.pathology.images.overlays import contours_over, mosaic
from nucleate.runtime.blobs import Blobs
from nucleate.runtime.jobs import Job
from nucleate.synthesis.analysis.reference import Reference
from nucleate.synthesis.analysis.statistics import VERSION, reference_statistics
from nucleate.synthesis.generation.batch import Batch, Source
from nucleate.synthesis.generation.synthetic_image import SyntheticPair
from nucleate.synthesis.profiles import Profile
from nucleate.v1 import synthesis_pb2 as pb

_CHECKPOINT_EVERY = 16


def draw(batch: Batch, blobs: Blobs, job: Job) -> pb.SynthesizeResult:
    """Draw the images that a job's checkpoint lacks, store every pair, and report progress.

    Raises:
        errors.InvalidImage: a source shows no tissue or too few nuclei; no image is drawn then.
        And what reading a source raises.
    """
    batch.check()
    result, provenance = _restored(job)
    described: list[dict[str, Any]] = []
    for group in batch.groups():
        done = (entry["index"] for entry in provenance)
        for image in batch.images(group, done):
            _add(result, provenance, image, blobs)
            if len(provenance) % _CHECKPOINT_EVERY == 0:
                job.checkpoint(_packed(result, provenance))
            job.progress(len(provenance), batch.count, "drawing images", nuclei=float(result.nuclei_placed))
        described += [reference_statistics(reference) for reference in group.values()]
    ordered = sorted(result.samples, key=lambda sample: sample.id)
    del result.samples[:]
    result.samples.extend(ordered)
    document = {"references": described, "images": sorted(provenance, key=lambda entry: int(entry["index"]))}
    result.statistics.CopyFrom(blobs.put(json.dumps(document, sort_keys=True).encode(), "application/json"))
    return result


def preview_message(image: SyntheticPair) -> pb.PreviewResponse:
    """One pair inline."""
    labels, _ = encode_instances(image.instances)
    return pb.PreviewResponse(
        image=encode_png(image.image),
        instances=labels,
        nuclei_requested=image.requested,
        nuclei_placed=image.placed,
        provenance=json.dumps(image.provenance, sort_keys=True),
        picture=encode_png(mosaic([[image.image, contours_over(image.image, image.instances)]])),
    )


class KnownStatistics:
    """Statistics of images under `statistics/` in the store, by version, profile and the digest of the image's bytes."""

    def __init__(self, blobs: Blobs) -> None:
        self._store = blobs.store

    def find(self, source: Source, profile: Profile) -> dict[str, Any] | None:
        """What was measured before, under the name it is asked by; None where nothing was."""
        try:
            entry: dict[str, Any] = json.loads(self._store.get(_key(source, profile)))
        except (NotFound, ValueError):
            return None
        return entry | {"name": source.name}

    def measure(self, source: Source, profile: Profile, apart: Callable[[], Reference]) -> dict[str, Any]:
        """Measure and keep; an image that nothing can be learned from is an entry with the reason, and is not kept."""
        try:
            entry = reference_statistics(apart())
        except InvalidImage as error:
            return {"name": source.name, "skipped": str(error)}
        self._store.put(_key(source, profile), json.dumps(entry, sort_keys=True).encode(), "application/json")
        return entry


def _key(source: Source, profile: Profile) -> str:
    settings = json.dumps(asdict(profile.for_references()), sort_keys=True).encode()
    return f"statistics/{VERSION}/{hashlib.sha256(settings).hexdigest()[:16]}/{source.key}"


def _add(result: pb.SynthesizeResult, provenance: list[dict[str, Any]], image: SyntheticPair, blobs: Blobs) -> None:
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

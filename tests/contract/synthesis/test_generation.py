"""Synthetic pairs over the wire: provenance, seeds, ranges, checkpoints, refusals."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.contract.synthesis.service_bench import WHITE, Bench, open_bench

from nucleate import errors
from nucleate.pathology.images.codec import decode_image, decode_instances, encode_png
from nucleate.runtime.channels import follow
from nucleate.synthesis.phantom.tissue import draw_tissue
from nucleate.v1 import common_pb2 as common
from nucleate.v1 import synthesis_pb2 as pb


def test_draws_pairs_with_progress_and_provenance(bench: Bench) -> None:
    events = bench.events("draw-1")
    assert [event.WhichOneof("event") for event in events[-2:]] == ["progress", "result"]
    assert (events[-2].progress.step, events[-2].progress.total) == (3, 3)
    result = events[-1].result
    assert [sample.id for sample in result.samples] == ["synthetic-00000", "synthetic-00001", "synthetic-00002"]
    placed = 0
    for sample in result.samples:
        rgb = decode_image(bench.blobs.get(sample.image), sample.id)
        instances = decode_instances(bench.blobs.get(sample.instances), sample.id)
        assert rgb.shape == (128, 128, 3) == tuple(sample.image.shape)
        assert instances.shape == (128, 128) == tuple(sample.instances.shape)
        assert sample.instances.dtype == "uint16"
        assert np.array_equal(np.unique(instances), np.arange(instances.max() + 1))
        placed += int(instances.max())
    assert placed == result.nuclei_placed <= result.nuclei_requested
    statistics = json.loads(bench.blobs.get(result.statistics))
    assert [reference["name"] for reference in statistics["references"]] == ["image 'slide-2'", "image 'slide-5'"]
    assert [image["seed"] for image in statistics["images"]] == [7, 7, 7]
    assert [image["image"] for image in statistics["images"]] == [sample.image.sha256 for sample in result.samples]


def test_same_seed_same_blobs_on_another_server(bench: Bench, tmp_path: Path) -> None:
    here = bench.events("again")[-1].result
    other = open_bench(tmp_path, 1)
    there = next(other).events("again")[-1].result
    other.close()
    assert here == there
    assert bench.events("again-2", seed=8)[-1].result.samples[0].image != here.samples[0].image


def test_size_overrides_the_profile(bench: Bench) -> None:
    result = bench.events("large", count=1, size=200)[-1].result
    assert tuple(result.samples[0].image.shape) == (200, 200, 3)


def test_stains_vary_within_the_pool_on_request(bench: Bench) -> None:
    runs = [bench.events("plain")[-1].result, bench.events("varied", restained=1.0)[-1].result]
    plain, varied = (json.loads(bench.blobs.get(run.statistics))["images"] for run in runs)
    assert all(each["stains"] is None for each in plain)
    assert all(each["stains"]["partner"] in {"image 'slide-2'", "image 'slide-5'"} for each in varied)
    assert [each["instances"] for each in plain] == [each["instances"] for each in varied]
    assert plain[0]["image"] != varied[0]["image"]


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (lambda _: {"images": []}, errors.EmptyInput, "send at least one un-annotated"),
        (lambda _: {"count": 0}, errors.InvalidInput, "count is 0"),
        (lambda _: {"count": 4_000_000_000}, errors.TooLarge, "count 4000000000 is over 5000"),
        (lambda _: {"size": 3}, errors.InvalidInput, "size 3 is outside of 64 to 4096 px"),
        (lambda _: {"size": 100_000}, errors.InvalidInput, "size 100000 is outside"),
        (lambda _: {"restained": 1.5}, errors.InvalidInput, "restained is 1.5: give the share"),
        (lambda _: {"restained": float("nan")}, errors.InvalidInput, "restained is nan"),
        (lambda _: {"profile": "huge"}, errors.UnknownProfile, "unknown profile 'huge': choose one of tiny, cpu, full"),
        (lambda b: {"images": [*b.images, b.image("torn", b"\x89PNG\r\n\x1a\nxx")]}, errors.InvalidImage, "image 'torn'"),
        (
            lambda b: {"images": [*b.images, b.image("glass", WHITE)]},
            errors.InvalidImage,
            "image 'glass' has no stained tissue",
        ),
        (
            lambda b: {
                "images": [common.Image(id="gone", data=common.Blob(uri=f"sha256/ab/ab{'0' * 62}", sha256=f"ab{'0' * 62}"))]
            },
            errors.NotFound,
            "ab0000",
        ),
    ],
    ids=["no images", "none", "count", "small", "large", "over", "nan", "profile", "damaged", "white", "missing"],
)
def test_bad_requests_name_the_input_and_the_fix(
    bench: Bench,
    request: pytest.FixtureRequest,
    changes: Callable[[Bench], dict[str, Any]],
    error: type[Exception],
    message: str,
) -> None:
    job_id = f"bad-{request.node.callspec.id.replace(' ', '-')}"
    with pytest.raises(error, match=message) as raised:
        bench.events(job_id, **changes(bench))
    assert "\n" not in str(raised.value)


def test_ground_truth_cannot_be_a_reference(bench: Bench) -> None:
    sealed = bench.blobs.put(encode_png(draw_tissue(3, 64)[0]), "image/png", sealed=True)
    with pytest.raises(errors.Fenced):
        bench.events("sealed", images=[common.Image(id="truth", data=sealed)])


def test_an_interrupted_job_goes_on_from_its_checkpoint(bench: Bench, tmp_path: Path) -> None:
    """Stop the server after 20 of 40 images: the next one draws the rest, and the result is that of an undisturbed run."""
    first = open_bench(tmp_path, 2)
    running = next(first)
    request = pb.SynthesizeRequest(job_id="long", images=running.images, count=40, seed=1, profile="tiny", size=64)
    for event in follow(running.stub.Synthesize, request, timeout=60):
        if event.progress.step >= 20:
            break
    first.close()
    second = open_bench(tmp_path, 2)
    events = list(follow(next(second).stub.Synthesize, request, timeout=60))
    second.close()
    assert all(event.progress.step == 0 or event.progress.step > 16 for event in events[:-1])
    assert events[-1].result == bench.events("undisturbed", count=40, seed=1, size=64)[-1].result


def test_ranges_of_a_run_are_its_parts(bench: Bench) -> None:
    whole = bench.events("whole", count=4)[-1].result.samples
    parts = [bench.events(f"part-{first}", count=2, first=first)[-1].result.samples for first in (0, 2)]
    assert [*parts[0], *parts[1]] == list(whole)

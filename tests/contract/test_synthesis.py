"""SynthesisService on a real server with a real folder store."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from nucleate import errors
from nucleate.pathology.images.codec import decode_image, decode_instances, encode_png
from nucleate.runtime.blobs import Blobs
from nucleate.runtime.channels import call, connect, follow
from nucleate.runtime.server import start_server
from nucleate.synthesis.phantom.tissue import draw_tissue
from nucleate.synthesis.service.servicer import register
from nucleate.synthesis.service.settings import SynthesisSettings
from nucleate.v1 import common_pb2 as common
from nucleate.v1 import synthesis_pb2 as pb
from nucleate.v1 import synthesis_pb2_grpc as pb_grpc

WHITE = encode_png(np.full((96, 96, 3), 245, dtype=np.uint8))


@dataclass
class Bench:
    """A running service, its store, and two un-annotated images in it."""

    stub: pb_grpc.SynthesisServiceStub
    blobs: Blobs
    images: list[common.Image]

    def events(self, job_id: str, **changes: Any) -> list[pb.SynthesizeResponse]:
        request = pb.SynthesizeRequest(
            **({"images": self.images, "count": 3, "seed": 7, "profile": "tiny"} | changes), job_id=job_id
        )
        return list(follow(self.stub.Synthesize, request, timeout=60))

    def image(self, name: str, data: bytes) -> common.Image:
        return common.Image(id=name, data=self.blobs.put(data, "image/png"))


def open_bench(folder: Path, threads: int) -> Iterator[Bench]:
    server = start_server("synthesis", register, SynthesisSettings(store=folder.as_uri(), threads=threads, log_level="error"))
    with connect(server.endpoint) as channel:
        bench = Bench(pb_grpc.SynthesisServiceStub(channel), Blobs(server.context.store), [])
        bench.images = [bench.image(f"slide-{seed}", encode_png(draw_tissue(seed, 160)[0])) for seed in (2, 5)]
        yield bench
    server.stop()


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    yield from open_bench(tmp_path_factory.mktemp("store"), 2)


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


def test_realism_is_measured_by_source(bench: Bench) -> None:
    sources = [bench.image(f"real-{seed}", encode_png(draw_tissue(seed, 160)[0])) for seed in range(3)]
    dark = [
        pb.SourcedImage(image=bench.image(f"dark-{seed}", encode_png(draw_tissue(seed, 160)[0] // 2)), source=f"real-{seed}")
        for seed in range(3)
    ]
    request = pb.MeasureRealismRequest(job_id="realism", real=sources, synthetic=dark, crops=6)
    *progress, last = follow(bench.stub.MeasureRealism, request, timeout=60)
    assert (progress[-1].progress.step, progress[-1].progress.total) == (6, 6)
    figures = json.loads(bench.blobs.get(last.result.figures))
    assert figures["auc"] > 0.95
    assert figures["images"] == {"real": 3, "synthetic": 3}
    assert decode_image(bench.blobs.get(last.result.sheet), "sheet").shape == (2 * 160 + 12, 3 * 160 + 16, 3)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"real": []}, errors.EmptyInput, "no real images"),
        ({"synthetic": []}, errors.EmptyInput, "no synthetic images"),
        ({"crops": 4000}, errors.TooLarge, "4000 crops an image are over 400"),
    ],
)
def test_realism_refuses_what_it_cannot_compare(
    bench: Bench, changes: dict[str, Any], error: type[errors.NucleateError], message: str
) -> None:
    both = {"real": bench.images, "synthetic": [pb.SourcedImage(image=i, source=i.id) for i in bench.images]}
    with pytest.raises(error, match=message):
        list(
            follow(
                bench.stub.MeasureRealism,
                pb.MeasureRealismRequest(job_id=f"refused-{next(iter(changes))}", **(both | changes)),
                timeout=60,
            )
        )


def describe(bench: Bench, job_id: str, images: list[common.Image]) -> tuple[pb.DescribeResult, list[dict[str, Any]]]:
    request = pb.DescribeRequest(job_id=job_id, images=images, profile="tiny")
    result = list(follow(bench.stub.Describe, request, timeout=60))[-1].result
    return result, json.loads(bench.blobs.get(result.statistics))["references"]


def test_statistics_are_measured_once_per_image(tmp_path: Path) -> None:
    server = open_bench(tmp_path, 1)
    bench = next(server)
    first, measured = describe(bench, "describe-1", bench.images)
    assert (first.described, first.known) == (2, 0)
    assert [entry["id"] for entry in measured] == ["slide-2", "slide-5"]
    server.close()
    server = open_bench(tmp_path, 1)  # another process would see the same store
    bench = next(server)
    renamed = [common.Image(id=f"again-{image.id}", data=image.data) for image in bench.images]
    again, known = describe(bench, "describe-2", renamed)
    assert (again.described, again.known) == (2, 2)
    assert [entry["name"] for entry in known] == ["image 'again-slide-2'", "image 'again-slide-5'"]
    assert [entry["nuclei"] for entry in known] == [entry["nuclei"] for entry in measured]
    server.close()


def test_describing_skips_what_nothing_can_be_learned_from(bench: Bench) -> None:
    result, entries = describe(
        bench, "describe-mixed", [bench.image("glass", WHITE), bench.images[0], bench.image("torn", b"GIF8")]
    )
    assert (result.described, result.known) == (1, 0)
    assert "has no stained tissue" in entries[0]["skipped"]
    assert entries[1]["nuclei"]["area_px"]
    assert "image 'torn'" in entries[2]["skipped"]


def test_describing_believes_no_digest(bench: Bench) -> None:
    gone = common.Image(id="gone", data=common.Blob(uri=f"sha256/ab/ab{'0' * 62}", sha256=bench.images[0].data.sha256))
    with pytest.raises(errors.NotFound):
        describe(bench, "describe-gone", [gone])
    with pytest.raises(errors.EmptyInput, match="send at least one"):
        describe(bench, "describe-none", [])


def test_a_preview_is_the_first_pair_of_a_run(bench: Bench) -> None:
    image = bench.images[0]
    inline = common.Image(id=image.id, inline=bench.blobs.get(image.data))
    first = bench.events("preview-run", images=[image], count=1)[-1].result.samples[0]
    for asked in (image, inline):
        shown = call(bench.stub.Preview, pb.PreviewRequest(image=asked, seed=7, profile="tiny"))
        assert shown.image == bench.blobs.get(first.image)
        assert shown.instances == bench.blobs.get(first.instances)
        assert 0 < shown.nuclei_placed <= shown.nuclei_requested
        assert json.loads(shown.provenance)["reference"]["sha256"]
        assert decode_image(shown.picture, "picture").shape == (136, 268, 3)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"size": 513}, errors.TooLarge, "over 512"),
        ({"size": 3}, errors.InvalidInput, "outside of 64 to 4096"),
        ({"profile": "huge"}, errors.UnknownProfile, "choose one of"),
        ({"image": common.Image(id="glass", inline=WHITE)}, errors.InvalidImage, "image 'glass' has no stained tissue"),
        ({"image": common.Image(id="none")}, errors.InvalidInput, "blob uri"),
    ],
)
def test_previews_refuse_what_they_cannot_show(
    bench: Bench, changes: dict[str, Any], error: type[errors.NucleateError], message: str
) -> None:
    asked = {"image": bench.images[0], "profile": "tiny"} | changes
    with pytest.raises(error, match=message):
        call(bench.stub.Preview, pb.PreviewRequest(**asked))


def test_ranges_of_a_run_are_its_parts(bench: Bench) -> None:
    whole = bench.events("whole", count=4)[-1].result.samples
    parts = [bench.events(f"part-{first}", count=2, first=first)[-1].result.samples for first in (0, 2)]
    assert [*parts[0], *parts[1]] == list(whole)


def png(array: np.ndarray) -> bytes:
    return cv2.imencode(".png", array)[1].tobytes()


TISSUE = draw_tissue(2, 160)[0][..., ::-1]
HEADER = png(np.zeros((4, 4, 3), np.uint8))


@pytest.mark.parametrize(
    ("data", "refused"),
    [
        (png(np.dstack([TISSUE, np.full((160, 160), 255, np.uint8)])), ""),
        (png(TISSUE.astype(np.uint16) * 257), ""),
        (cv2.imencode(".jpg", np.ascontiguousarray(TISSUE))[1].tobytes(), ""),
        (png(cv2.cvtColor(np.ascontiguousarray(TISSUE), cv2.COLOR_BGR2GRAY)), "greyscale"),
        (png(np.full((160, 160, 3), (190, 150, 220), np.uint8)), "too few nuclei"),
        (png(np.ascontiguousarray(TISSUE[:9, :9])), "too few nuclei|no stained tissue|px"),
        (HEADER[:16] + (60_000).to_bytes(4, "big") * 2 + HEADER[24:], "torn"),
        (png(np.ascontiguousarray(TISSUE))[:900], "torn"),
        (b"not an image", "torn"),
    ],
    ids=["RGBA", "16-bit", "JPEG", "grey", "without nuclei", "tiny", "lying size", "cut off", "text"],
)
def test_unusual_images_give_a_pair_or_a_reason(bench: Bench, data: bytes, refused: str) -> None:
    request = pb.PreviewRequest(image=common.Image(id="torn", inline=data), profile="tiny")
    if refused:
        with pytest.raises(errors.InvalidInput, match=refused) as raised:
            call(bench.stub.Preview, request)
        assert "torn" in str(raised.value)
        return
    shown = call(bench.stub.Preview, request)
    assert decode_image(shown.image, "preview").std() > 5
    assert decode_instances(shown.instances, "preview").max() == shown.nuclei_placed > 0

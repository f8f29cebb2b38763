"""Statistics of un-annotated images, and realism of synthetic ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.contract.synthesis.service_bench import WHITE, Bench, open_bench

from nucleate import errors
from nucleate.pathology.images.codec import decode_image, encode_png
from nucleate.runtime.channels import follow
from nucleate.synthesis.phantom.tissue import draw_tissue
from nucleate.v1 import common_pb2 as common
from nucleate.v1 import synthesis_pb2 as pb


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

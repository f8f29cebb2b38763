"""BenchClicks on real servers: the robot clicks through InteractiveService over gRPC, and is stopped and started again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from tests.contract.test_annotator import SIZE, a_model, draw_nuclei, two_servers

from nucleate import errors
from nucleate.annotator.bench import job
from nucleate.pathology.images.codec import encode_instances, encode_png
from nucleate.runtime.channels import call, follow
from nucleate.v1 import annotator_pb2 as pb
from nucleate.v1 import common_pb2 as common
from nucleate.v1 import interactive_pb2 as interactive
from nucleate.v1 import jobs_pb2

NONE = interactive.Refinement(method=interactive.REFINEMENT_METHOD_NONE)  # quick: these tests do not look at masks
TIMES = ("milliseconds", "call_milliseconds")


class Bench:
    """Both servers over one store, an untrained tiny model, and two images with their sealed maps."""

    def __init__(self, servers: Any) -> None:
        self.annotator, self.blobs, self.jobs = servers.annotator, servers.blobs, servers.jobs
        self.model = a_model(servers.blobs)
        self.maps = []
        self.images = []
        for seed in (4, 5):
            rgb, instances = draw_nuclei(SIZE, 8, seed)
            instances[:3, :3] = np.where(instances[:3, :3] == 0, instances.max() + 1, instances[:3, :3])  # 9 px: too small
            self.maps.append(instances)
            self.images.append(
                common.LabelledImage(
                    id=f"slide-{seed}",
                    image=self.blobs.put(encode_png(rgb), "image/png"),
                    instances=self.blobs.put(encode_instances(instances)[0], "image/png", sealed=True),
                )
            )

    def request(self, job_id: str, **changes: Any) -> pb.BenchClicksRequest:
        arguments = {"model": self.model, "images": self.images, "nuclei": 4, "most_clicks": 3, "seed": 1, "refinement": NONE}
        return pb.BenchClicksRequest(**({"job_id": job_id} | arguments | changes))

    def run(self, job_id: str, **changes: Any) -> pb.BenchClicksResult:
        return list(follow(self.annotator.BenchClicks, self.request(job_id, **changes)))[-1].result

    def rows(self, result: pb.BenchClicksResult) -> list[dict[str, Any]]:
        rows = [json.loads(line) for line in self.blobs.get(result.rows).splitlines()]
        return [{name: value for name, value in row.items() if name not in TIMES} for row in rows]

    def proposals(self) -> list[common.Blob]:
        kept = [np.where(labels % 3 == 0, 0, labels) for labels in self.maps]
        return [self.blobs.put(encode_instances(each)[0], "image/png") for each in kept]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with two_servers(tmp_path_factory.mktemp("store")) as servers:
        yield Bench(servers)


def test_nuclei_of_every_image_are_clicked_and_summed_up(bench):
    result, again = bench.run("n-4"), bench.run("n-4-again")
    rows = bench.rows(result)
    assert (result.n, result.left_out, len(rows)) == (4, 2, 4)
    assert [row["image"] for row in rows] == ["slide-4", "slide-4", "slide-5", "slide-5"]
    assert all(1 <= len(row["iou"]) == len(row["clicks"]) <= 3 for row in rows)
    for row in rows:
        x, y, positive = row["clicks"][0]
        assert positive
        assert bench.maps[row["image"] == "slide-5"][y, x] == row["nucleus"]
    assert result.iou[0] == pytest.approx(np.mean([row["iou"][0] for row in rows]))
    assert len(result.iou) == len(result.iou_intervals) == 3
    assert [each.target_iou for each in result.noc] == pytest.approx([0.8, 0.85, 0.9])
    assert all(each.low <= each.mean <= each.high <= 3 for each in result.noc)
    assert result.honoured == 1
    assert 0 < result.milliseconds.p50 <= result.call_milliseconds.p50 <= result.call_milliseconds.p99
    assert result.opening_seconds > 0
    assert bench.rows(again) == rows
    assert [each.mean for each in again.noc] == [each.mean for each in result.noc]
    assert bench.run("n-4") == result  # the same job answers with the same result


def test_jittered_clicks_differ_and_refinement_can_be_chosen(bench):
    exact, jittered = bench.run("exact"), bench.run("jittered", jitter=2.0)
    assert exact.evaluations == jittered.evaluations == 0
    assert [row["clicks"] for row in bench.rows(exact)] != [row["clicks"] for row in bench.rows(jittered)]
    refined = bench.run("refined", nuclei=1, refinement=interactive.Refinement(most_evaluations=4, spend_all=True))
    assert 0 < refined.evaluations <= 8


def test_proposals_are_corrected_on_patches(bench):
    patches = pb.PatchBench(proposals=bench.proposals(), size=96, count=3, target_pq=1.0)
    result = bench.run("patches", nuclei=1, patches=patches)
    assert [each.id for each in result.patches][:2] in (["slide-4", "slide-5"], ["slide-5", "slide-4"])
    for each in result.patches:
        assert (each.window.width, each.window.height) == (96, 96)
        assert 0 < each.pq_before <= each.pq_after <= 1
        assert each.nuclei > 0
        assert each.clicks > 0 or each.pq_before == 1
    again = bench.run("patches-again", nuclei=1, patches=patches)
    for each in [*result.patches, *again.patches]:
        each.seconds = 0
    assert list(again.patches) == list(result.patches)


def test_patches_start_from_the_classical_segmentation(bench):
    result = bench.run("classical", nuclei=1, patches=pb.PatchBench(size=128, count=1, target_pq=0.1))
    assert len(result.patches) == 1
    assert result.patches[0].pq_before > 0.1  # drawn nuclei are easily found
    assert result.patches[0].clicks == 0


def test_a_job_that_was_stopped_goes_on_behind_its_last_session(bench, monkeypatch):
    monkeypatch.setattr(job, "NUCLEI_PER_SESSION", 2)
    patches = pb.PatchBench(proposals=bench.proposals(), size=96, count=2, target_pq=0.9)
    settings = {"nuclei": 8, "patches": patches, "jitter": 1.0}
    whole = bench.run("undisturbed", **settings)
    clicked, corrected = [], []
    click, correct = job.click_nucleus, job.ProposalCorrector.correct

    def clicking(*arguments):
        clicked.append(1)
        if len(clicked) == 6:  # in the third session, with an object in work in it
            arguments[0].click_with_result(5, 5, positive=True)
            raise errors.Unreachable("the service went away")
        click(*arguments)

    def correcting(*arguments):
        corrected.append(1)
        if len(corrected) == 2:
            raise errors.Unreachable("the service went away")
        return correct(*arguments)

    monkeypatch.setattr(job, "click_nucleus", clicking)
    monkeypatch.setattr(job.ProposalCorrector, "correct", correcting)
    for _ in range(2):
        with pytest.raises(errors.Unreachable):
            bench.run("disturbed", **settings)
    resumed = bench.run("disturbed", **settings)
    assert len(clicked) == 8 + 2
    assert len(corrected) == 2 + 1
    assert bench.rows(resumed) == bench.rows(whole)
    assert [(each.clicks, each.pq_after) for each in resumed.patches] == [
        (each.clicks, each.pq_after) for each in whole.patches
    ]


def test_a_job_can_be_cancelled_and_taken_up_again(bench):
    request = bench.request("cancelled", nuclei=0)
    stream = follow(bench.annotator.BenchClicks, request)
    for event in stream:
        if event.progress.step >= 1:
            call(bench.jobs.CancelJob, jobs_pb2.CancelJobRequest(job_id="cancelled"))
            break
    with pytest.raises(errors.Cancelled):
        list(stream)
    result = list(follow(bench.annotator.BenchClicks, request))[-1].result
    assert result.n == sum(len(np.unique(labels)) - 2 for labels in bench.maps)


def test_progress_says_how_many_nuclei_are_done(bench):
    events = list(follow(bench.annotator.BenchClicks, bench.request("progress", nuclei=0)))
    steps = [event.progress for event in events if event.HasField("progress") and event.progress.total]
    assert {"clicking nuclei"} == {each.stage for each in steps}
    assert [each.step for each in steps] == sorted(each.step for each in steps)
    assert steps[-1].total == events[-1].result.n


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"images": []}, errors.EmptyInput, "no image"),
        ({"model": common.Model(kind="hovernet")}, errors.InvalidModel, "kind 'hovernet'"),
        ({"most_clicks": 0}, errors.InvalidInput, "most_clicks is 0: give 1 to 64"),
        ({"most_clicks": 65}, errors.InvalidInput, "most_clicks is 65"),
        ({"nuclei": 200_000}, errors.InvalidInput, "at most 100000"),
        ({"jitter": -1.0}, errors.InvalidInput, "jitter is -1"),
        ({"jitter": float("nan")}, errors.InvalidInput, "jitter is nan"),
        ({"patches": pb.PatchBench(size=400, target_pq=0.6)}, errors.InvalidInput, "0 patches"),
        ({"patches": pb.PatchBench(size=8, count=1, target_pq=0.6)}, errors.InvalidInput, "patch size is 8"),
        ({"patches": pb.PatchBench(size=400, count=1)}, errors.InvalidInput, "target_pq is 0"),
        (
            {"patches": pb.PatchBench(size=400, count=1, target_pq=0.6, proposals=[common.Blob()])},
            errors.InvalidInput,
            "1 proposals for 2 images",
        ),
        ({"job_id": "no/id"}, errors.InvalidInput, "job_id"),
    ],
)
def test_bad_requests_are_refused_before_any_work(bench, changes, error, message):
    name = changes.get("job_id", f"bad-{next(iter(changes))}")
    with pytest.raises(error, match=message):
        bench.run(name, **{key: value for key, value in changes.items() if key != "job_id"})


def test_masks_that_do_not_fit_are_refused(bench):
    def masked(instances: np.ndarray) -> common.LabelledImage:
        blob = bench.blobs.put(encode_instances(instances)[0], "image/png", sealed=True)
        return common.LabelledImage(id="slide", image=bench.images[0].image, instances=blob)

    with pytest.raises(errors.SizeMismatch, match="image 'slide' has 128 x 128 pixels, but its mask has 64 x 80"):
        bench.run("size", images=[masked(np.ones((80, 64), np.int32))])
    with pytest.raises(errors.EmptyInput, match="no nucleus of at least 16 px"):
        bench.run("empty", images=[masked(np.zeros((SIZE, SIZE), np.int32))])
    twice = [bench.images[0], bench.images[0]]
    with pytest.raises(errors.InvalidInput, match="two images are called 'slide-4'"):
        bench.run("twice", images=twice)

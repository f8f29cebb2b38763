"""AnnotatePatch on real servers: the robot clicks through InteractiveService over gRPC."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.interactive.nuclei import draw_nuclei

from nucleate import errors
from nucleate.annotator.service import servicer as annotator
from nucleate.annotator.service.settings import AnnotatorSettings
from nucleate.interactive.networks.model_file import ModelCard, pack
from nucleate.interactive.service import servicer as interactive
from nucleate.interactive.service.settings import InteractiveSettings
from nucleate.interactive.training.profiles import PROFILES
from nucleate.interactive.training.trainer import seeded_network
from nucleate.pathology.images.codec import decode_instances, encode_instances, encode_png
from nucleate.runtime.blobs import Blobs
from nucleate.runtime.channels import call, connect, follow
from nucleate.runtime.server import start_server
from nucleate.v1 import annotator_pb2 as pb
from nucleate.v1 import annotator_pb2_grpc, interactive_pb2, interactive_pb2_grpc, jobs_pb2_grpc
from nucleate.v1 import common_pb2 as common

SIZE = 128
WINDOW = common.Window(x=20, y=8, width=96, height=96)


@dataclass
class Bench:
    """Both servers over one store, an untrained tiny model, an image and its sealed map."""

    annotator: annotator_pb2_grpc.AnnotatorServiceStub
    interactive: interactive_pb2_grpc.InteractiveServiceStub
    blobs: Blobs
    model: common.Model
    image: common.Image
    oracle: common.Blob
    instances: np.ndarray

    def request(self, **changes: Any) -> pb.AnnotatePatchRequest:
        arguments = {
            "job_id": "patch-1",
            "image": self.image,
            "window": WINDOW,
            "model": self.model,
            "oracle": self.oracle,
            "target_iou": 0.9,
            "max_clicks": 2,
        }
        return pb.AnnotatePatchRequest(**(arguments | changes))

    def annotate(self, **changes: Any) -> pb.AnnotatePatchResult:
        return list(follow(self.annotator.AnnotatePatch, self.request(**changes)))[-1].result

    def labels(self, result: pb.AnnotatePatchResult) -> np.ndarray:
        return decode_instances(self.blobs.get(result.accepted.instances), "accepted")


def a_model(blobs: Blobs) -> common.Model:
    profile = PROFILES["tiny"]
    card = ModelCard(profile.architecture, profile.crop, "tiny", "").to_json()
    files = {name: blobs.put(data, "") for name, data in pack(seeded_network(profile, 0).eval()).items()}
    return common.Model(kind="interactive", card=blobs.put(card, "application/json"), files=files)


@dataclass
class Servers:
    """An annotator and the interactive service it clicks through."""

    annotator: annotator_pb2_grpc.AnnotatorServiceStub
    interactive: interactive_pb2_grpc.InteractiveServiceStub
    jobs: jobs_pb2_grpc.JobsServiceStub
    blobs: Blobs


@contextmanager
def two_servers(store: Path) -> Iterator[Servers]:
    """Start both over one store, and stop them."""
    plain = {"store": store.as_uri(), "threads": 1, "log_level": "error", "drain_seconds": 1}
    clicking = start_server("interactive", interactive.register, InteractiveSettings(device="cpu", **plain))
    settings = AnnotatorSettings(endpoint_interactive=clicking.endpoint, **plain)
    robot = start_server("annotator", annotator.register, settings)
    with connect(robot.endpoint) as to_robot, connect(clicking.endpoint) as to_clicking:
        yield Servers(
            annotator_pb2_grpc.AnnotatorServiceStub(to_robot),
            interactive_pb2_grpc.InteractiveServiceStub(to_clicking),
            jobs_pb2_grpc.JobsServiceStub(to_robot),
            robot.context.blobs,
        )
    robot.stop()
    clicking.stop()


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    rgb, instances = draw_nuclei(SIZE, 8, 4)
    with two_servers(tmp_path_factory.mktemp("store")) as servers:
        blobs = servers.blobs
        yield Bench(
            servers.annotator,
            servers.interactive,
            blobs,
            a_model(blobs),
            common.Image(id="slide", data=blobs.put(encode_png(rgb), "image/png")),
            blobs.put(encode_instances(instances)[0], "image/png", sealed=True),
            instances,
        )


def nuclei_inside(instances: np.ndarray) -> int:
    seen = instances[8:104, 20:116]
    return sum((seen == n).sum() >= 10 for n in np.unique(seen)[1:])


def test_every_nucleus_of_the_window_is_clicked_from_scratch(bench):
    result = bench.annotate()
    count = nuclei_inside(bench.instances)
    assert 1 <= result.clicks <= 2 * count  # an untrained net may cover the rest with its first object
    assert result.nuclei <= count
    assert 0 <= result.mean_iou <= 1
    assert result.seconds > 0
    assert bench.labels(result).shape == (96, 96)
    assert not result.accepted.instances.uri.startswith("sealed/")
    assert bench.annotate() == result  # the same job answers with the same result


def test_perfect_proposals_cost_nothing_and_false_ones_a_click_each(bench):
    proposals = bench.instances.copy()
    proposals[60:64, 60:64] = np.where(proposals[60:64, 60:64] > 0, proposals[60:64, 60:64], proposals.max() + 1)
    extra = int((proposals != bench.instances).any())
    blob = bench.blobs.put(encode_instances(proposals)[0], "image/png")
    result = bench.annotate(job_id="patch-2", proposals=blob, target_iou=0.5)
    assert result.clicks == extra
    assert result.nuclei == nuclei_inside(bench.instances)
    assert result.mean_iou == pytest.approx(1)
    assert np.array_equal(bench.labels(result) > 0, bench.instances[8:104, 20:116] > 0)


def test_a_job_started_again_goes_on_in_its_session(bench):
    missing = bench.instances[8:104, 20:116].max()
    proposals = bench.blobs.put(encode_instances(np.where(bench.instances == missing, 0, bench.instances))[0], "image/png")
    name = "robot-patch-3"
    opening = {"session_id": name, "image": bench.image, "model": bench.model, "window": WINDOW, "proposals": proposals}
    call(bench.interactive.OpenSession, interactive_pb2.OpenSessionRequest(**opening))
    seen = np.argwhere(bench.instances[8:104, 20:116] == missing)
    y, x = (seen[len(seen) // 2] + (8, 20)).tolist()
    click = interactive_pb2.PlacedClick(x=x, y=y, positive=True)
    call(bench.interactive.Click, interactive_pb2.ClickRequest(session_id=name, sequence=1, click=click))
    result = bench.annotate(job_id="patch-3", proposals=proposals, max_clicks=1)
    assert result.clicks == 1
    assert result.nuclei == nuclei_inside(bench.instances)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"target_iou": 0}, errors.InvalidInput),
        ({"target_iou": 1.5}, errors.InvalidInput),
        ({"max_clicks": 0}, errors.InvalidInput),
        ({"job_id": ""}, errors.InvalidInput),
        ({"oracle": common.Blob()}, errors.InvalidInput),
        ({"model": common.Model(kind="hovernet")}, errors.InvalidInput),
        ({"window": common.Window(x=100, y=100, width=96, height=96)}, errors.InvalidInput),
    ],
)
def test_bad_requests_are_refused(bench, changes, error):
    with pytest.raises(error):
        bench.annotate(**({"job_id": f"bad-{next(iter(changes))}"} | changes))


def test_an_oracle_of_another_size_is_refused(bench):
    small = bench.blobs.put(encode_instances(np.ones((64, 64), np.int32))[0], "image/png", sealed=True)
    with pytest.raises(errors.SizeMismatch, match="its oracle has 64 x 64"):
        bench.annotate(job_id="small", oracle=small)


def test_without_the_interactive_service_the_job_fails_and_can_be_tried_again(bench, tmp_path):
    settings = AnnotatorSettings(
        endpoint_interactive="127.0.0.1:1", store=tmp_path.as_uri(), threads=1, log_level="error", drain_seconds=1
    )
    lonely = start_server("annotator", annotator.register, settings)
    with connect(lonely.endpoint) as channel, pytest.raises(errors.Unreachable):
        list(follow(annotator_pb2_grpc.AnnotatorServiceStub(channel).AnnotatePatch, bench.request()))
    lonely.stop()

"""Training and export over the wire."""

from __future__ import annotations

import json
from typing import Any

import grpc
import pytest
from tests.contract.hovernet.service_bench import Bench
from tests.unit.hovernet.tissue import draw

from nucleate import errors
from nucleate.hovernet.training import self_training
from nucleate.pathology.images.codec import encode_png
from nucleate.runtime.channels import follow
from nucleate.v1 import common_pb2 as common
from nucleate.v1 import hovernet_pb2 as pb


def test_train_streams_losses_and_returns_a_model(bench: Bench, model: common.Model) -> None:
    events = list(follow(bench.stub.Train, bench.train("train-2"), timeout=120))
    seen = [event.progress for event in events if event.WhichOneof("event") == "progress"]
    assert seen[-1].total >= 12
    assert {"loss", "np_bce", "np_dice", "hv_mse", "hv_msge"} <= set(seen[-1].values)
    assert events[-1].result.model == model  # same data, profile and seed: the same bytes


@pytest.mark.parametrize("keep", [False, True])
def test_self_training_can_be_turned_off(bench: Bench, keep: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, relabel_pool = [], self_training.relabel_pool

    def spy(*arguments: Any) -> Any:
        calls.append(arguments)
        return relabel_pool(*arguments)

    monkeypatch.setattr(self_training, "relabel_pool", spy)
    bench.result("Train", bench.train(f"keep-{keep}", keep_labels=keep))
    assert bool(calls) is not keep


def test_export_gives_a_bare_model_the_program_that_training_gives(bench: Bench, model: common.Model) -> None:
    bare = common.Model(kind=model.kind, card=model.card)
    bare.files["model.safetensors"].CopyFrom(model.files["model.safetensors"])
    assert bench.stub.Export(pb.ExportRequest(model=bare), timeout=60).model == model
    requests = [
        pb.SegmentRequest(job_id=f"seg-onnx-{i}", images=bench.images, model=each) for i, each in enumerate((bare, model))
    ]
    by_torch, by_onnx = (bench.result("Segment", request).images for request in requests)
    assert [image.instances.sha256 for image in by_onnx] == [image.instances.sha256 for image in by_torch]
    other = bench.result("Train", bench.train("train-other", seed=4)).model
    model = common.Model.FromString(model.SerializeToString())
    model.files["model.onnx"].CopyFrom(other.files["model.onnx"])
    with pytest.raises(errors.InvalidModel, match=r"model.onnx does not belong"):
        bench.result("Segment", pb.SegmentRequest(job_id="seg-foreign", images=bench.images, model=model))
    with pytest.raises(grpc.RpcError) as refused:
        bench.stub.Export(pb.ExportRequest(model=common.Model(kind="refiner")), timeout=60)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_types_are_learnt_and_come_back_by_name(bench: Bench) -> None:
    typed = bench.train("train-typed", dataset=bench.dataset(classes=("tumour", "other")))
    model = bench.result("Train", typed).model
    request = pb.SegmentRequest(job_id="seg-typed", images=bench.images, model=model, outlines=True)
    features = [
        feature
        for image in bench.result("Segment", request).images
        for feature in json.loads(bench.blobs.get(image.outlines))["features"]
    ]
    names = [feature["properties"].get("classification", {}).get("name") for feature in features]
    assert names
    assert set(names) <= {"tumour", "other", None}
    events = list(follow(bench.stub.Train, typed, timeout=60))
    assert {"nc_ce", "nc_dice"} <= set(events[-1].result.metrics)
    with pytest.raises(errors.InvalidMask, match="s0 has class 2 and the data set names 1"):
        bench.result("Train", bench.train("train-classes", dataset=bench.dataset(classes=("tumour",))))
    with pytest.raises(errors.InvalidModel, match=r"with classes \[\]"):
        bench.result("Train", bench.train("train-untyped", initial=model))


def test_training_cannot_open_sealed_masks(bench: Bench) -> None:
    with pytest.raises(errors.Fenced):
        bench.result("Train", bench.train("train-fenced", dataset=bench.dataset(sealed=True)))
    sealed = common.Image(id="s", data=bench.blobs.put(encode_png(draw(64, 3, 9)[0]), "image/png", sealed=True))
    for job_id, fields in {"fence-u": {"unlabelled": [sealed]}}.items():
        with pytest.raises(errors.Fenced):
            bench.result("Train", bench.train(job_id, **fields))
    with pytest.raises(errors.Fenced):
        bench.result("Segment", pb.SegmentRequest(job_id="fence-s", images=[sealed], classical=pb.ClassicalSegmenter()))


def test_starts_from_a_model_and_names_its_parent(bench: Bench, model: common.Model) -> None:
    result = bench.result("Train", bench.train("train-warm", initial=model, unlabelled=bench.images))
    assert model.card.sha256.encode() in bench.blobs.get(result.model.card)

"""HoverNetService on a real server with a real folder store."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import grpc
import numpy as np
import pytest
import safetensors.torch
import tifffile
from tests.unit.hovernet.tissue import draw

from nucleate import errors
from nucleate.dataset.manifest import BlobRef, Dataset, Origin, Sample
from nucleate.hovernet.service.servicer import register
from nucleate.hovernet.service.settings import HoverNetSettings
from nucleate.hovernet.training import self_training
from nucleate.pathology.images.codec import (
    decode_image,
    decode_instances,
    decode_mask,
    encode_instances,
    encode_mask,
    encode_png,
)
from nucleate.pathology.metrics import dice_aji_pq
from nucleate.runtime.blobs import Blobs
from nucleate.runtime.channels import connect, follow
from nucleate.runtime.server import RunningServer, start_server
from nucleate.v1 import common_pb2 as common
from nucleate.v1 import hovernet_pb2 as pb
from nucleate.v1 import hovernet_pb2_grpc as pb_grpc

SIDE = 64


@dataclass
class Bench:
    """A running service, its store, and what the tests put there."""

    stub: pb_grpc.HoverNetServiceStub
    blobs: Blobs
    server: RunningServer
    images: list[common.Image]

    def result(self, method: str, request: Any) -> Any:
        return list(follow(getattr(self.stub, method), request, timeout=120))[-1].result

    def put_map(self, instances: np.ndarray, *, sealed: bool = False) -> common.Blob:
        data, media_type = encode_instances(instances)
        return self.blobs.put(data, media_type, sealed=sealed)

    def dataset(self, *, sealed: bool = False, side: int = SIDE, classes: Sequence[str] = ()) -> common.Dataset:
        samples = []
        for seed in (0, 1, 2):
            image, instances = draw(SIDE, 8, seed)
            ignore = np.zeros((SIDE, SIDE), np.bool_)
            ignore[:4] = True
            samples.append(
                Sample(
                    id=f"s{seed}",
                    image=ref(self.blobs.put(encode_png(image), "image/png")),
                    instances=ref(self.put_map(instances[:side, :side], sealed=sealed)),
                    ignore=ref(self.blobs.put(encode_mask(ignore), "image/png")),
                    origin=(Origin.PSEUDO, Origin.ACCEPTED, Origin.SYNTHETIC)[seed],
                    split="val" if seed == 2 else "train",
                    types=ref(self.put_map(np.where(instances > 0, 1 + instances % 2, 0))) if classes and seed == 0 else None,
                )
            )
        manifest = self.blobs.put(Dataset(samples, classes).to_json(), "application/json")
        return common.Dataset(manifest=manifest, samples=len(samples))

    def train(self, job_id: str, **changes: Any) -> pb.HoverNetServiceTrainRequest:
        fields = {"dataset": self.dataset(), "profile": "tiny", "seed": 3} | changes
        return pb.HoverNetServiceTrainRequest(job_id=job_id, **fields)

    def weights(self, model: common.Model) -> dict[str, Any]:
        return safetensors.torch.load(self.blobs.get(model.files["model.safetensors"]))


def ref(blob: common.Blob) -> BlobRef:
    return BlobRef(blob.uri, blob.sha256, blob.size, blob.media_type)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder: Path = tmp_path_factory.mktemp("store")
    server = start_server("hovernet", register, HoverNetSettings(store=folder.as_uri(), device="cpu", log_level="error"))
    with connect(server.endpoint) as channel:
        bench = Bench(pb_grpc.HoverNetServiceStub(channel), Blobs(server.context.store), server, [])
        for seed in (5, 6):
            data = bench.blobs.put(encode_png(draw(96, 14, seed)[0]), "image/png")
            bench.images.append(common.Image(id=f"slide-{seed}", data=data))
        yield bench
    server.stop()


@pytest.fixture(scope="module")
def model(bench: Bench) -> common.Model:
    result = bench.result("Train", bench.train("train-1"))
    assert 0.0 <= result.metrics["agreement"] <= 1.0
    return result.model


def test_train_streams_losses_and_returns_a_model(bench: Bench, model: common.Model) -> None:
    events = list(follow(bench.stub.Train, bench.train("train-2"), timeout=120))
    seen = [event.progress for event in events if event.WhichOneof("event") == "progress"]
    assert seen[-1].total >= 12
    assert {"loss", "np_bce", "np_dice", "hv_mse", "hv_msge"} <= set(seen[-1].values)
    assert events[-1].result.model == model  # same data, profile and seed: the same bytes


@pytest.mark.parametrize("keep", [False, True])
def test_self_training_can_be_turned_off(bench: Bench, keep: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, renewed = [], self_training.relabel_pool

    def spy(*arguments: Any) -> Any:
        calls.append(arguments)
        return renewed(*arguments)

    monkeypatch.setattr(self_training, "relabel_pool", spy)
    bench.result("Train", bench.train(f"keep-{keep}", keep_labels=keep))
    assert bool(calls) is not keep


def test_segment_finds_nuclei_with_overlay_and_ignore_mask(bench: Bench, model: common.Model) -> None:
    request = pb.SegmentRequest(job_id="seg-1", images=bench.images, model=model, overlays=True, ignore_masks=True)
    for image, segmented in zip(bench.images, bench.result("Segment", request).images, strict=True):
        instances = decode_instances(bench.blobs.get(segmented.instances), "map")
        assert (segmented.id, instances.shape, instances.max()) == (image.id, (96, 96), segmented.nuclei)
        assert decode_image(bench.blobs.get(segmented.overlay), "overlay").shape == (96, 96, 3)
        assert decode_mask(bench.blobs.get(segmented.ignore), "ignore").shape == (96, 96)


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


def test_a_small_image_goes_and_comes_inline(bench: Bench, model: common.Model) -> None:
    inline = common.Image(id="slide-5", inline=bench.blobs.get(bench.images[0].data))
    kept, sent = (
        bench.result("Segment", pb.SegmentRequest(job_id=f"inline-{n}", images=[image], model=model, outlines=True)).images[0]
        for n, image in enumerate((bench.images[0], inline))
    )
    assert (sent.instances, kept.inline_instances) == (kept.instances, b"")
    assert sent.inline_instances == bench.blobs.get(kept.instances)
    nuclei = json.loads(bench.blobs.get(sent.outlines))["features"]
    assert len(nuclei) == sent.nuclei
    both = common.Image(id="both", inline=inline.inline, data=bench.images[0].data)
    with pytest.raises(errors.InvalidInput, match="'both' has bytes inline and a blob"):
        bench.result("Segment", pb.SegmentRequest(job_id="inline-both", images=[both], model=model))
    huge = common.Image(id="huge", inline=bytes(2 * 1024 * 1024 + 1))
    with pytest.raises(errors.TooLarge, match="huge"):
        bench.result("Segment", pb.SegmentRequest(job_id="inline-huge", images=[huge], model=model))


def test_pixels_of_another_size_are_brought_to_40x_and_back(bench: Bench) -> None:
    image, truth = draw(192, 40, 7)
    half = cv2.resize(image, (96, 96), interpolation=cv2.INTER_AREA)
    scores = []
    for microns in (0.0, 0.5):
        stored = common.Image(id="20x", data=bench.blobs.put(encode_png(half), "image/png"))
        request = pb.SegmentRequest(job_id=f"microns-{microns}", images=[stored], classical={}, microns_per_pixel=microns)
        segmented = bench.result("Segment", request).images[0]
        found = decode_instances(bench.blobs.get(segmented.instances), "map")
        assert found.shape == (96, 96)
        scores.append(dice_aji_pq.score(truth[::2, ::2], found).pq)
    assert scores[1] > max(scores[0], 0.7)


def test_a_slide_comes_back_by_tiles(bench: Bench, model: common.Model) -> None:
    file = io.BytesIO()
    picture = np.tile(draw(256, 40, 8)[0], (3, 9, 1))
    tifffile.imwrite(file, picture, photometric="rgb", tile=(128, 128))
    slide = common.Image(id="S1", data=bench.blobs.put(file.getvalue(), "image/tiff"))
    request = pb.SegmentSlideRequest(job_id="slide", slide=slide, model=model, microns_per_pixel=0.25)
    events = list(follow(bench.stub.SegmentSlide, request, timeout=240))
    tiles, result = [event.part for event in events if event.WhichOneof("event") == "part"], events[-1].result
    assert [(tile.window.x, tile.window.width) for tile in result.tiles] == [(0, 2048), (2048, 256)]
    assert list(result.tiles) == tiles
    counts = [len(json.loads(bench.blobs.get(tile.outlines))["features"]) for tile in result.tiles]
    assert [tile.nuclei for tile in result.tiles] == counts
    assert (sum(counts), result.microns_per_pixel) == (result.nuclei, 0.25)
    assert decode_image(bench.blobs.get(result.overview), "overview").shape == (683, 2048, 3)
    (again,) = follow(bench.stub.SegmentSlide, request, timeout=60)
    assert again.result == result
    for change, error, words in (
        ({"microns_per_pixel": 0.0}, errors.InvalidImage, "'S1' does not tell the size of its pixels"),
        ({"microns_per_pixel": 9.0}, errors.InvalidInput, "pixels of 9 um"),
        ({"slide": bench.images[0]}, errors.InvalidImage, "'slide-5' is no slide"),
        ({"model": common.Model(kind="refiner")}, errors.InvalidModel, "refiner"),
    ):
        fields = {"slide": slide, "model": model, "microns_per_pixel": 0.25} | change
        with pytest.raises(error, match=words):
            bench.result("SegmentSlide", pb.SegmentSlideRequest(job_id=f"slide-{words.split()[-1]}", **fields))


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


def test_more_views_are_averaged_where_asked_for(bench: Bench, model: common.Model) -> None:
    found = [
        bench.result("Segment", pb.SegmentRequest(job_id=f"views-{n}", images=bench.images, model=model, views=n)).images
        for n in (0, 1, 8)
    ]
    assert found[0] == found[1]  # the profile `tiny` looks once
    assert found[2] != found[1]


def test_classical_segmenter_needs_no_model_and_scores_well(bench: Bench) -> None:
    request = pb.SegmentRequest(job_id="seg-2", images=bench.images, classical=pb.ClassicalSegmenter())
    result = bench.result("Segment", request)
    pairs = []
    for seed, segmented in zip((5, 6), result.images, strict=True):
        truth = bench.put_map(draw(96, 14, seed)[1], sealed=True)
        pairs.append(pb.EvaluationPair(id=segmented.id, predicted=segmented.instances, truth=truth))
    scores = bench.result("Evaluate", pb.EvaluateRequest(job_id="eval-1", pairs=pairs))
    assert [image.id for image in scores.images] == ["slide-5", "slide-6"]
    assert scores.mean.dice1 > 0.9
    assert scores.images[0].nuclei_true == 14
    assert scores.mean.pq == pytest.approx(np.mean([image.scores.pq for image in scores.images]))


def test_evaluate_leaves_images_empty_in_both_maps_out_of_the_mean(bench: Bench) -> None:
    empty, full = np.zeros((40, 40), np.int32), draw(40, 3, 1)[1]
    blobs = [bench.put_map(array) for array in (empty, full)]
    pairs = [pb.EvaluationPair(id=str(i), predicted=blob, truth=blob) for i, blob in enumerate(blobs)]
    pairs.append(pb.EvaluationPair(id="missed", predicted=blobs[0], truth=blobs[1]))
    result = bench.result("Evaluate", pb.EvaluateRequest(job_id="eval-2", pairs=pairs))
    assert [image.both_empty for image in result.images] == [True, False, False]
    assert result.mean.aji == 0.5


def test_evaluate_reads_what_people_exchange(bench: Bench) -> None:
    square = np.zeros((40, 40), np.int32)
    square[4:14, 6:16] = 7
    corners = [[6, 4], [16, 4], [16, 14], [6, 14], [6, 4]]
    feature = {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [corners]}, "properties": {}}
    vertices = "".join(f'<Vertex X="{x}" Y="{y}"/>' for x, y in corners[:4])
    region = f'<Region Id="1"><Vertices>{vertices}</Vertices></Region>'
    xml = f"<Annotations><Annotation><Regions>{region}</Regions></Annotation></Annotations>"
    array = io.BytesIO()
    np.save(array, square.astype(np.uint16))
    files = {"npy": array.getvalue(), "geojson": json.dumps({"features": [feature]}).encode(), "xml": xml.encode()}
    truth = bench.put_map(square, sealed=True)
    pairs = [
        pb.EvaluationPair(id=name, predicted=bench.blobs.put(data, "application/octet-stream"), truth=truth)
        for name, data in files.items()
    ]
    result = bench.result("Evaluate", pb.EvaluateRequest(job_id="eval-formats", pairs=pairs))
    assert [(image.scores.aji, image.nuclei_predicted) for image in result.images] == [(1.0, 1)] * 3
    assert result.low == result.high == result.mean
    assert (round(result.set.pq_plus, 4), result.set.detection_f, result.set.count_error) == (1.0, 1.0, 0.0)


def test_evaluate_scores_classes_where_both_sides_have_them(bench: Bench) -> None:
    instances = draw(40, 3, 1)[1]
    files = []
    for swapped in (False, True):
        classes = np.where(instances == 1, 2 if swapped else 1, np.where(instances > 0, 2, 0))
        array = io.BytesIO()
        np.save(array, np.stack([instances, classes], -1).astype(np.int32))
        files.append(bench.blobs.put(array.getvalue(), "application/x-npy"))
    pair = pb.EvaluationPair(id="typed", predicted=files[1], truth=files[0])
    result = bench.result("Evaluate", pb.EvaluateRequest(job_id="eval-typed", pairs=[pair]))
    one, two = result.classes
    assert (one.name, one.nuclei_true, one.nuclei_predicted, one.f, one.pq_plus) == ("1", 1, 0, 0.0, 0.0)
    assert (two.name, two.nuclei_true, two.nuclei_predicted) == ("2", 2, 3)
    assert two.pq_plus == pytest.approx(2 / 2.5, abs=1e-4)
    assert not result.HasField("low")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b'<!DOCTYPE a [<!ENTITY b "c">]><Annotations/>', "entities"),
        (b"<Annotations>", "well-formed"),
        (b'{"features": [{"geometry": {"type": "Polygon", "coordinates": [[[0, 0], [1, NaN], [1, 1]]]}}]}', "NaN"),
        (b"\x93NUMPY\x01\x00 torn", "npy"),
        (b"PK\x03\x04", "ZIP"),
    ],
)
def test_damaged_and_hostile_annotations_are_named(bench: Bench, data: bytes, words: str) -> None:
    truth = bench.put_map(draw(40, 3, 1)[1], sealed=True)
    pair = pb.EvaluationPair(id="odd", predicted=bench.blobs.put(data, "application/octet-stream"), truth=truth)
    with pytest.raises(errors.InvalidMask, match=f"'odd'.*{words}"):
        bench.result("Evaluate", pb.EvaluateRequest(job_id=f"eval-bad-{words}", pairs=[pair]))


def test_score_patches_covers_the_image_to_its_borders(bench: Bench, model: common.Model) -> None:
    request = pb.ScorePatchesRequest(job_id="score-1", images=bench.images, model=model, size=40, stride=32)
    patches = bench.result("ScorePatches", request).patches
    assert {patch.image_id for patch in patches} == {"slide-5", "slide-6"}
    assert {(patch.window.x, patch.window.y) for patch in patches} == {(x, y) for x in (0, 32, 56) for y in (0, 32, 56)}
    assert all(0 <= patch.uncertainty <= np.log(2) + 1e-6 and len(patch.features) == 11 for patch in patches)


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


@pytest.mark.parametrize(
    ("method", "change", "error", "words"),
    [
        ("Train", {"profile": "huge"}, errors.UnknownProfile, "huge"),
        ("Train", {"dataset": common.Dataset()}, errors.InvalidInput, "blob uri"),
        ("Segment", {"images": []}, errors.EmptyInput, "image"),
        ("Segment", {"classical": None}, errors.InvalidInput, "no segmenter"),
        ("Segment", {"classical": None, "views": 3}, errors.InvalidInput, "3 views"),
        ("Evaluate", {"pairs": []}, errors.EmptyInput, "pair"),
        ("ScorePatches", {"size": 8}, errors.InvalidInput, "size 8"),
        ("ScorePatches", {"stride": 0}, errors.InvalidInput, "stride 0"),
        ("ScorePatches", {"model": common.Model(kind="refiner")}, errors.InvalidModel, "refiner"),
    ],
)
def test_bad_requests_say_what_is_wrong(  # noqa: PLR0917 - pytest passes them
    bench: Bench, model: common.Model, method: str, change: dict[str, Any], error: type[Exception], words: str
) -> None:
    name = f"bad-{method}-{'-'.join(change)}"
    if "views" in change:
        change = change | {"model": model}
    fields: dict[str, dict[str, Any]] = {
        "Segment": {"images": bench.images, "classical": pb.ClassicalSegmenter()},
        "ScorePatches": {"images": bench.images, "model": model, "size": 64, "stride": 32},
    }
    kinds = {"Segment": pb.SegmentRequest, "Evaluate": pb.EvaluateRequest, "ScorePatches": pb.ScorePatchesRequest}
    request = (
        bench.train(name, **change) if method == "Train" else kinds[method](job_id=name, **(fields.get(method, {}) | change))
    )
    with pytest.raises(error, match=words):
        bench.result(method, request)


def test_bad_images_maps_and_models_are_named(bench: Bench, model: common.Model) -> None:
    broken = common.Image(id="torn", data=bench.blobs.put(b"\x89PNG\r\n\x1a\n torn", "image/png"))
    with pytest.raises(errors.InvalidInput, match="torn"):
        bench.result("Segment", pb.SegmentRequest(job_id="bad-1", images=[*bench.images, broken], model=model))
    with pytest.raises(errors.InvalidInput, match="s0"):
        bench.result("Train", bench.train("bad-2", dataset=bench.dataset(side=40)))
    a, b = (bench.put_map(draw(side, 3, 1)[1]) for side in (40, 44))
    pair = pb.EvaluationPair(id="odd", predicted=a, truth=b)
    with pytest.raises(errors.InvalidInput, match="odd"):
        bench.result("Evaluate", pb.EvaluateRequest(job_id="bad-3", pairs=[pair]))
    weights = {name: value * np.nan for name, value in bench.weights(model).items()}
    damaged = common.Model(kind="hovernet", card=model.card)
    damaged.files["model.safetensors"].CopyFrom(bench.blobs.put(safetensors.torch.save(weights), "application/octet-stream"))
    with pytest.raises(errors.InvalidInput, match="NaN"):
        bench.result("Segment", pb.SegmentRequest(job_id="bad-4", images=bench.images, model=damaged))

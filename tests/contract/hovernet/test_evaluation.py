"""Scores of segmentations and of windows over the wire."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from tests.contract.hovernet.service_bench import Bench
from tests.unit.hovernet.tissue import draw

from nucleate import errors
from nucleate.v1 import common_pb2 as common
from nucleate.v1 import hovernet_pb2 as pb


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

"""Bad requests, images, maps and models are refused by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import safetensors.torch
from tests.contract.hovernet.service_bench import Bench
from tests.unit.hovernet.tissue import draw

from nucleate import errors
from nucleate.v1 import common_pb2 as common
from nucleate.v1 import hovernet_pb2 as pb


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

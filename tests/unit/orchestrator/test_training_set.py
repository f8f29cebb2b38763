"""What goes into a training set, with which weight, and which pseudo-labels are with_classical_fallback."""

from __future__ import annotations

import hashlib

from nucleate.dataset.manifest import Dataset
from nucleate.orchestrator.loop.training_set import composition, training_set, with_classical_fallback
from nucleate.orchestrator.profiles import profile_named
from nucleate.v1 import common_pb2, hovernet_pb2, refiner_pb2


def blob(name: str) -> common_pb2.Blob:
    digest = hashlib.sha256(name.encode()).hexdigest()
    return common_pb2.Blob(uri=f"sha256/{digest[:2]}/{digest}", sha256=digest, size=len(name), media_type="image/png")


def pair(name: str) -> common_pb2.LabelledImage:
    return common_pb2.LabelledImage(id=name, image=blob(name), instances=blob(name + " map"))


def label(name: str, nuclei: int) -> hovernet_pb2.SegmentedImage:
    return hovernet_pb2.SegmentedImage(
        id=name, nuclei=nuclei, instances=blob(f"{name} {nuclei}"), ignore=blob(name + " ignore")
    )


def build(order: int = 1, accepted: int = 5) -> Dataset:
    images = [common_pb2.Image(id=f"i{index}", data=blob(f"i{index}")) for index in range(10)]
    refined = [
        refiner_pb2.RefinedImage(sample=pair(f"s{index}"), gate=refiner_pb2.GateVerdict(accepted=index < 15))
        for index in range(20)
    ]
    return training_set(
        profile_named("cpu"),
        7,
        refined=refined[::order],
        pool={image.id: image for image in images},
        labels=[label(image.id, 0 if image.id == "i3" else 9) for image in images][::order],
        accepted=[pair(f"cycle-1.patch-{index}") for index in range(accepted)][::order],
    )


def test_synthetic_pairs_are_split_80_20_and_all_else_trains() -> None:
    dataset = build()
    assert composition(dataset) == {"synthetic": 5, "refined": 15, "pseudo": 9, "accepted": 5}
    held_out = [sample.id.partition(".")[0] for sample in dataset.part("val")]
    assert {group: held_out.count(group) for group in ("synthetic", "pool", "accepted")} == {
        "synthetic": 4,
        "pool": 0,
        "accepted": 0,
    }
    assert {sample.origin.value: sample.weight for sample in dataset.samples}["accepted"] == 2.0
    assert all((sample.ignore is not None) == (sample.origin == "pseudo") for sample in dataset.samples)
    assert "pool.i3" not in {sample.id for sample in dataset.samples}


def test_importance_multiplies_the_weight_of_synthetic_images() -> None:
    refined = [refiner_pb2.RefinedImage(sample=pair("s0"), weight=1.5), refiner_pb2.RefinedImage(sample=pair("s1"))]
    dataset = training_set(profile_named("cpu"), 7, refined=refined, pool={}, labels=[], accepted=[])
    assert {sample.id: round(sample.weight, 6) for sample in dataset.samples} == {"synthetic.s0": 0.3, "synthetic.s1": 0.2}


def test_the_manifest_depends_on_what_is_in_it_only() -> None:
    assert build(order=-1).to_json() == build().to_json()
    assert build(accepted=4).digest != build().digest


def test_a_collapsed_model_is_not_believed() -> None:
    classical = [label(name, 100) for name in "abcde"]
    found = [label("a", 0), label("b", 49), label("c", 50), label("d", 200), label("e", 201)]
    assert [each.nuclei for each in with_classical_fallback(found, classical)] == [100, 100, 50, 200, 100]
    assert with_classical_fallback([label("a", 0)], [label("a", 0)])[0].nuclei == 0

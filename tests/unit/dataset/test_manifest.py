from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nucleate.dataset.manifest import BlobRef, Dataset, Origin, Sample, split_80_20
from nucleate.errors import Fenced, InvalidDataset


def blob(digit, size=10, uri=None):
    sha256 = f"{digit:x}" * 64
    return BlobRef(uri or f"sha256/{sha256[:2]}/{sha256}", sha256, size, "image/png")


def sample(name="a", **changes):
    values = {"id": name, "image": blob(1), "instances": blob(2), "ignore": None, "origin": Origin.PSEUDO, "split": "train"}
    return Sample(**{**values, **changes})


DATASET = Dataset(
    [sample("b", ignore=blob(3), split="val", origin=Origin.ACCEPTED), sample("a", weight=0.5, types=blob(4)), sample("ü 7")],
    ["tumour", "other"],
)


def test_round_trip_and_parts():
    again = Dataset.from_json(DATASET.to_json())
    assert again == DATASET
    assert again.digest == DATASET.digest
    assert [s.id for s in again.samples] == ["a", "b", "ü 7"]
    assert [s.id for s in again.part("val")] == ["b"]
    assert Dataset.from_json(Dataset([]).to_json()).samples == ()


def test_equal_content_has_one_digest():
    assert Dataset(reversed(DATASET.samples), DATASET.classes).digest == DATASET.digest
    assert Dataset([sample(weight=1, origin="pseudo")]).digest == Dataset([sample(weight=1.0)]).digest
    shuffled = json.dumps(json.loads(DATASET.to_json()), indent=1, sort_keys=False).encode()
    assert Dataset.from_json(shuffled).digest == DATASET.digest
    assert Dataset([sample(weight=0.9)]).digest != Dataset([sample()]).digest


ABSENT = object()
BAD_FIELDS = [
    (("format",), "nucleate-dataset/9", "format"),
    (("samples",), {}, r"samples .* a list"),
    (("samples", 0), 7, r"samples\[0\] .* an object"),
    (("samples", 1, "id"), "a", "a occurs twice"),
    (("samples", 0, "id"), "", "sample id ''"),
    (("samples", 0, "id"), "a\nb", "printable"),
    (("samples", 0, "id"), "\ud800", "printable"),
    (("samples", 0, "id"), 3, r"samples\[0\]\.id"),
    (("samples", 0, "image"), None, r"samples\[0\]\.image"),
    (("samples", 0, "image"), ABSENT, r"samples\[0\]\.image is missing"),
    (("samples", 0, "image", "size"), 0, "size 0"),
    (("samples", 0, "image", "size"), -5, "size -5"),
    (("samples", 0, "image", "size"), 10**30, "size 1000"),
    (("samples", 0, "image", "size"), 3.0, r"image\.size"),
    (("samples", 0, "image", "size"), True, r"image\.size"),
    (("samples", 0, "image", "uri"), "", "uri"),
    (("samples", 0, "instances", "sha256"), "AB" * 32, "64 lower-case hex"),
    (("samples", 1, "ignore"), "x", r"samples\[1\]\.ignore"),
    (("samples", 0, "ignore"), ABSENT, r"samples\[0\]\.ignore is missing"),
    (("samples", 0, "origin"), "ground-truth", r"origin is 'ground-truth': use one of synthetic"),
    (("samples", 0, "split"), "test", r"split is 'test'"),
    (("classes",), "tumour", "classes is .*list of texts"),
    (("classes",), ["a", "a"], "2 classes"),
    (("classes",), ["\n"], "class .*printable"),
    (("classes",), [], "sample a has a map of types"),
    (("samples", 0, "weight"), -1, "weight -1"),
    (("samples", 0, "weight"), float("nan"), "weight nan"),
    (("samples", 0, "weight"), float("inf"), "weight inf"),
    (("samples", 0, "weight"), "1", r"samples\[0\]\.weight"),
    (("samples", 0, "weight"), 10**400, r"samples\[0\]\.weight"),
]


@pytest.mark.parametrize(("path", "value", "words"), BAD_FIELDS)
def test_the_field_at_fault_is_named(path, value, words):
    document = json.loads(DATASET.to_json())
    target = document
    for step in path[:-1]:
        target = target[step]
    if value is ABSENT:
        del target[path[-1]]
    else:
        target[path[-1]] = value
    with pytest.raises(InvalidDataset, match=words) as caught:
        Dataset.from_json(json.dumps(document).encode())
    assert "\n" not in str(caught.value)


@settings(max_examples=100, deadline=None)
@given(
    st.one_of(st.binary(max_size=40), st.sampled_from([b"[]", b"null", b"[" * 100_000, b"1" * 5000, DATASET.to_json()[:-9]]))
)
def test_other_bytes_are_no_manifest(data):
    with pytest.raises(InvalidDataset):
        Dataset.from_json(data)


def test_ground_truth_cannot_enter():
    for part in ("image", "instances", "ignore"):
        with pytest.raises(Fenced, match="sealed ground truth"):
            sample(**{part: blob(4, uri="sealed/44/4444")})


@settings(max_examples=60, deadline=None)
@given(st.sets(st.text(min_size=1), max_size=60), st.integers(0, 2**32), st.randoms())
def test_split_is_80_20_and_blind_to_order(ids, seed, shuffler):
    order = sorted(ids)
    found = split_80_20(order, seed)
    shuffler.shuffle(order)
    assert split_80_20(order, seed) == found
    assert set(found) == ids
    held_out = sum(part == "val" for part in found.values())
    assert held_out == (0 if len(ids) < 2 else max(1, round(len(ids) / 5)))


def test_split_depends_on_the_seed_and_refuses_doubles():
    ids = [f"s{k}" for k in range(50)]
    assert split_80_20(ids, 1) != split_80_20(ids, 2)
    with pytest.raises(InvalidDataset, match="twice"):
        split_80_20(["a", "a"], 0)

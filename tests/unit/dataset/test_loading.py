from __future__ import annotations

import hashlib

import numpy as np
import pytest

from nucleate.dataset.manifest import BlobRef, Origin, Sample
from nucleate.dataset.sample_loading import load_sample
from nucleate.errors import InvalidImage, InvalidMask, SizeMismatch
from nucleate.pathology.images.codec import encode_instances, encode_mask, encode_png

RGB = np.random.default_rng(0).integers(0, 256, (40, 48, 3), dtype=np.uint8)
LABELS = np.arange(40 * 48).reshape(40, 48) // 300
IGNORE = LABELS == 3


def sample_of(image, instances, ignore=None, types=None):
    stored = {}

    def put(data):
        digest = hashlib.sha256(data).hexdigest()
        ref = BlobRef(f"sha256/{digest[:2]}/{digest}", digest, max(len(data), 1), "image/png")
        stored[ref] = data
        return ref

    parts = {"image": put(image), "instances": put(instances)}
    parts |= {name: None if data is None else put(data) for name, data in (("ignore", ignore), ("types", types))}
    return Sample(id="s1", origin=Origin.REFINED, split="train", **parts), stored.__getitem__


def test_arrays_come_back():
    for ignore, expected in ((None, np.zeros_like(IGNORE)), (encode_mask(IGNORE), IGNORE)):
        loaded = load_sample(*sample_of(encode_png(RGB), encode_instances(LABELS)[0], ignore))
        np.testing.assert_array_equal(loaded.image, RGB)
        np.testing.assert_array_equal(loaded.instances, LABELS)
        np.testing.assert_array_equal(loaded.ignore, expected)
        assert (loaded.instances.dtype, loaded.ignore.dtype) == (np.int32, np.bool_)


def test_types_count_in_nuclei_only():
    types = np.full(LABELS.shape, 2, np.uint8)
    loaded = load_sample(*sample_of(encode_png(RGB), encode_instances(LABELS)[0], None, encode_instances(types)[0]), classes=2)
    np.testing.assert_array_equal(loaded.types, np.where(LABELS > 0, 2, 0))


@pytest.mark.parametrize(
    ("parts", "error", "words"),
    [
        ((b"no image", encode_instances(LABELS)[0]), InvalidImage, "image of sample s1"),
        ((encode_png(RGB), encode_png(RGB)), InvalidMask, "instance map of sample s1"),
        ((encode_png(RGB), encode_instances(LABELS[1:])[0]), SizeMismatch, "instance map is 48 x 39 px"),
        ((encode_png(RGB), encode_instances(LABELS)[0], encode_mask(IGNORE.T)), SizeMismatch, "ignore mask is 40 x 48 px"),
        ((encode_png(RGB), encode_instances(LABELS)[0], None, encode_mask(IGNORE.T)), SizeMismatch, "map of types is 40 x 48"),
        (
            (encode_png(RGB), encode_instances(LABELS)[0], None, encode_mask(IGNORE)),
            InvalidMask,
            "class 255 .* names 0",
        ),
    ],
)
def test_parts_that_do_not_fit(parts, error, words):
    with pytest.raises(error, match=words):
        load_sample(*sample_of(*parts))

"""Masks and label maps against array and image libraries."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from nucleate import errors
from nucleate.client import Box, LabelMap, Mask
from nucleate.interactive.object_mask import ObjectMask

WINDOW = Box(2, 3, 20, 16)


def mask_of(bits: np.ndarray, x: int, y: int, window: Box = WINDOW) -> Mask:
    cut = ObjectMask.from_array(bits, x, y)
    return Mask(Box(cut.x, cut.y, *cut.bits.shape[::-1]), tuple(cut.runs()), window)


def opened(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000), density=st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]), x=st.integers(0, 6), y=st.integers(0, 6)
)
def test_a_mask_is_the_array_it_was_made_of(seed: int, density: float, x: int, y: int):
    bits = np.random.default_rng(seed).random((9, 11)) < density
    mask = mask_of(bits, x, y)
    image = np.zeros((40, 40), bool)
    image[y : y + 9, x : x + 11] = bits
    expected = image[3:19, 2:22]
    np.testing.assert_array_equal(np.asarray(mask), expected)
    assert np.asarray(mask).dtype == bool
    assert mask.area == bits.sum()
    np.testing.assert_array_equal(opened(mask.to_png()), expected * np.uint8(255))
    whole = Box(0, 0, 40, 40)
    np.testing.assert_array_equal(np.frombuffer(mask.to_bytes(whole), bool).reshape(40, 40), image)
    assert {(c, r) for r in range(40) for c in range(40) if (c, r) in mask} == {(c, r) for r, c in np.argwhere(image)}


def test_a_mask_that_does_not_fit_its_box_is_refused():
    with pytest.raises(errors.InvalidMask, match="do not add up"):
        Mask(Box(0, 0, 2, 2), (1, 2), WINDOW)


def test_a_map_labels_what_can_be_seen_of_each_mask():
    full = np.ones((3, 4), bool)
    masks = [mask_of(full, 4, 5), mask_of(full, 0, 0), mask_of(full[:0], 0, 0), mask_of(full, 20, 17), mask_of(full, 30, 30)]
    labels = LabelMap.of(masks, WINDOW)
    expected = np.zeros((16, 20), np.int32)
    expected[2:5, 2:6], expected[14:16, 18:20] = 1, 2
    np.testing.assert_array_equal(np.asarray(labels), expected)
    assert (labels.nuclei, np.asarray(labels).dtype) == (2, np.int32)
    np.testing.assert_array_equal(opened(labels.to_png()), expected)
    np.testing.assert_array_equal(np.frombuffer(labels.to_bytes(), np.int32).reshape(16, 20), expected)


def test_a_map_past_16_bits_keeps_its_labels():
    window = Box(0, 0, 300, 300)
    dots = (Mask(Box(n % 300, n // 300, 1, 1), (0, 1), window) for n in range(66_000))
    labels = LabelMap.of(dots, window)
    assert (labels.nuclei, np.asarray(labels).max()) == (66_000, 66_000)
    with pytest.raises(errors.TooLarge, match="66000 nuclei"):
        labels.to_png()

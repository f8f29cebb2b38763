"""Masks drawn without an image library are what an image library reads."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from nucleate.client.files.png_writer import mask_png
from nucleate.errors import InvalidMask


@settings(max_examples=50, deadline=None)
@given(data=st.data(), width=st.integers(1, 20), height=st.integers(1, 20))
def test_runs_inside_a_box(data, width: int, height: int):
    x, y = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    box_width, box_height = data.draw(st.integers(1, width - x)), data.draw(st.integers(1, height - y))
    bits = data.draw(st.lists(st.booleans(), min_size=box_width * box_height, max_size=box_width * box_height))
    runs, value = [0], False
    for bit in bits:
        if bit != value:
            runs.append(0)
            value = bit
        runs[-1] += 1
    expected = np.zeros((height, width), np.uint8)
    expected[y : y + box_height, x : x + box_width] = np.reshape(bits, (box_height, box_width)) * np.uint8(255)
    drawn = np.asarray(Image.open(io.BytesIO(mask_png(width, height, (x, y, box_width, box_height), runs))))
    np.testing.assert_array_equal(drawn, expected)


@pytest.mark.parametrize(("box", "runs"), [((0, 0, 2, 2), [3]), ((0, 0, 2, 2), [5]), ((3, 3, 2, 2), [4])])
def test_masks_that_do_not_fit(box: tuple[int, int, int, int], runs: list[int]):
    with pytest.raises(InvalidMask, match="does not fit"):
        mask_png(4, 4, box, runs)

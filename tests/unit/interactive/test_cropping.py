from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nucleate.interactive.cropping import crop

MAPS = arrays(np.int32, st.tuples(st.integers(0, 6), st.integers(0, 6)), elements=st.integers(0, 9))
CORNERS = st.integers(-9, 9)


@settings(max_examples=200, deadline=None)
@given(MAPS, st.tuples(CORNERS, CORNERS), st.tuples(CORNERS, CORNERS), st.tuples(st.integers(0, 9), st.integers(0, 9)))
def test_a_crop_has_the_array_where_it_reaches_and_padding_elsewhere(labels, origin, corner, size):
    (left, top), (x, y), (width, height) = origin, corner, size
    found = crop(labels, x, y, width, height, padding=-1, origin=origin)
    assert found.shape == (height, width)
    assert found.dtype == labels.dtype
    for row, column in np.ndindex(height, width):
        inside = 0 <= y + row - top < labels.shape[0] and 0 <= x + column - left < labels.shape[1]
        assert found[row, column] == (labels[y + row - top, x + column - left] if inside else -1)

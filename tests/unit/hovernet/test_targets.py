"""HV maps against a loop over nuclei, at borders, and for odd ids."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.hovernet.slow_targets import slow_hv
from tests.unit.hovernet.tissue import draw

from nucleate import errors
from nucleate.hovernet.training.targets import hv_maps


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 12))
def test_hv_maps_are_the_definition(seed, count):
    _, instances = draw(48, count, seed)
    assert np.allclose(hv_maps(instances), slow_hv(instances), atol=1e-6)


@pytest.mark.parametrize("where", [np.s_[:8, 10:20], np.s_[10:20, :8], np.s_[-8:, 10:20], np.s_[10:20, -8:]])
def test_nuclei_at_every_border_have_both_signs(where):
    instances = np.zeros((32, 32), np.uint16)
    instances[where] = 65_535
    for plane in hv_maps(instances):
        assert (plane[where].min(), plane[where].max()) == (-1.0, 1.0)


def test_ids_need_not_be_contiguous_and_background_may_be_absent():
    _, instances = draw(48, 6, 3)
    assert np.array_equal(hv_maps(instances * 1_000_003), hv_maps(instances))
    assert np.abs(hv_maps(np.ones((9, 9), np.int64))).max() == 1.0
    assert not hv_maps(np.zeros((4, 4), np.int32)).any()


@pytest.mark.parametrize("bad", [np.zeros((4, 4)), np.zeros((4, 4, 1), np.int32), np.full((4, 4), -1)])
def test_no_map_at_all_is_refused(bad):
    with pytest.raises(errors.InvalidMask):
        hv_maps(bad)

"""Windows and the feathered region of harmonization."""

from __future__ import annotations

import numpy as np
import pytest

from nucleate.refiner.singan.windows import feathered_region, windows_around


def test_the_region_fades_to_exactly_zero():
    region = np.zeros((1, 20), bool)
    region[0, 3] = True
    weight = feathered_region(region, 2, 3)[0]
    assert weight[3:13].tolist() == pytest.approx([1, 1, 1, 0.75, 0.5, 0.25, 0, 0, 0, 0])
    assert not feathered_region(np.zeros((4, 4), bool), 2, 3).any()


def test_cores_cover_all_parts_and_cut_none_that_fits():
    touched = np.zeros((300, 500), bool)
    parts = [(slice(0, 9), slice(0, 9)), (slice(100, 120), slice(95, 130)), (slice(290, 300), slice(480, 500))]
    for part in [*parts, (slice(200, 210), slice(20, 400))]:
        touched[part] = True
    windows = windows_around(touched, 100, 20)
    covered = np.zeros_like(touched)
    for window in windows:
        covered[window.core] = True
        for core, outer, length in zip(window.core, window.outer, touched.shape, strict=True):
            assert outer.stop - outer.start == 100
            assert core.start - outer.start == (20 if outer.start > 0 else 0)
            assert outer.stop - core.stop == (20 if outer.stop < length else 0)
    assert covered[touched].all()
    assert all(any(window.holds(part) for window in windows) for part in parts)
    assert len(windows_around(touched, 500, 20)) == 1

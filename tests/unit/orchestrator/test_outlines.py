"""Outlines of instance maps in the report."""

from __future__ import annotations

from array import array

import pytest

from nucleate.client.files.image_files import InstanceMap
from nucleate.orchestrator.report.outlines import outline_path


@pytest.mark.parametrize(
    ("width", "labels", "path"),
    [
        (4, [0, 0, 0, 0, 0, 1, 2, 0, 0, 1, 2, 0], "M1 1H3M1 1V3M2 1V3M3 1V3"),
        (3, [1, 0, 1, 0, 0, 0], "M0 1H1M2 1H3M1 0V1M2 0V1"),
        (2, [5, 5, 5, 5], ""),
        (1, [5], ""),
    ],
)
def test_outlines_run_along_label_changes(width: int, labels: list[int], path: str):
    assert outline_path(InstanceMap(width, len(labels) // width, array("H", labels))) == path

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from nucleate.synthesis.analysis.reference import Reference, analyse_reference
from nucleate.synthesis.phantom.tissue import draw_tissue
from nucleate.synthesis.profiles import profile_named


@pytest.fixture(scope="session")
def tissue() -> NDArray[np.uint8]:
    """An H&E-like 256 x 256 image with about sixty nuclei."""
    return draw_tissue(2, 256)[0]


@pytest.fixture(scope="session")
def reference(tissue: NDArray[np.uint8]) -> Reference:
    return analyse_reference(tissue, "tissue", profile_named("tiny"))

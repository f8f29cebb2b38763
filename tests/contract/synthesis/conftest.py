"""What the contract tests of synthesis share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.contract.synthesis.service_bench import Bench, open_bench


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    yield from open_bench(tmp_path_factory.mktemp("store"), 2)

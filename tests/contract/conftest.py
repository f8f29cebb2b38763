"""What the contract tests of the interactive service share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from tests.contract.interactive_bench import running_bench

    with running_bench(Path(tmp_path_factory.mktemp("interactive")).as_uri()) as running:
        yield running

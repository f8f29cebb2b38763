"""A scripted service and a client of it, for each surface."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.client.scripted import Scripted, serving
from tests.unit.client.surfaces import SURFACES, Service


@pytest.fixture(params=SURFACES)
def service(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Service]:
    servicer = Scripted()
    with serving(tmp_path, servicer) as server:
        service = Service(server, servicer, request.param)
        yield service
        service.client.close()

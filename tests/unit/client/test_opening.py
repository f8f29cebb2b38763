"""Opening and resuming sessions with both clients: what they ask for and send."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.unit.client.scripted import SIZE
from tests.unit.client.surfaces import IMAGE, Service

from nucleate import errors
from nucleate.v1 import common_pb2
from nucleate.v1 import interactive_pb2 as pb


class TestOpening:
    def test_says_what_to_open_and_how(self, service: Service):
        proposals, refinement = common_pb2.Blob(uri="sha256/cd/cde"), pb.Refinement(most_evaluations=3)
        arguments = {"window": (1, 2, 30, 40), "proposals": proposals, "refinement": refinement, "session_id": "mine"}
        session = service.open(model="model:sha256/ef/efg", **arguments)
        assert (session.id, session.window) == ("mine", (1, 2, 30, 40))
        window = common_pb2.Window(x=1, y=2, width=30, height=40)
        wanted = {"session_id": "mine", "image": IMAGE, "window": window, "proposals": proposals, "refinement": refinement}
        assert service.servicer.opened == pb.OpenSessionRequest(model_ref="model:sha256/ef/efg", **wanted)
        model = common_pb2.Model(kind="interactive")
        service.open(model=model)
        assert service.servicer.opened.model == model

    def test_pictures_travel_in_chunks(self, service: Service, tmp_path: Path):
        pixels = np.random.default_rng(0).integers(0, 256, (800, 1000, 3), np.uint8)
        with service.client.open(pixels[:, ::-1], image_id="noise") as session:
            assert session.window == (0, 0, SIZE, SIZE)
        stored = service.client.put_image(pixels[:, ::-1], "noise")
        assert (stored.reference.id, stored.width, stored.height) == ("noise", SIZE, SIZE)
        sent = service.servicer.images["noise"]
        assert len(sent) > 2 << 20
        (tmp_path / "a slide.png").write_bytes(sent)
        assert service.client.put_image(tmp_path / "a slide.png").reference.id == "a slide"
        assert service.servicer.images["a slide"] == sent

    def test_resume(self, service: Service):
        with service.open() as session:
            session.click(20, 20)
        with service.connect() as other, other.resume(session.id) as resumed:
            assert (resumed.working.id, resumed.clicks, resumed.sequence) == (1, ((20, 20, True),), 2)
            assert resumed.click(21, 20).area == 25
        with pytest.raises(errors.NotFound):
            service.client.resume("nobody")

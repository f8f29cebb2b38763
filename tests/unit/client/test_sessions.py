"""Sessions of both clients against a scripted service: what they ask, and what they make of answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tests.unit.client.scripted import LOSE, SIZE
from tests.unit.client.surfaces import Service

from nucleate import errors


def area(session: Any, number: int) -> int:
    return session.objects[number].mask.area


class TestSession:
    def test_clicks_make_objects(self, service: Service):
        with service.open() as session:
            mask = session.click(20, 30)
            assert (mask.box, mask.area, mask.object_id) == ((19, 29, 3, 3), 9, 1)
            assert (mask.confidence, mask.clicks_obeyed, mask.honoured) == (0.75, True, (True,))
            assert (mask.milliseconds, mask.spent.refining, mask.probability) == (5.0, 4.0, None)
            assert session.click(20, 31, positive=False, probability=True).probability.values == b"\x80" * 4
            assert session.clicks == ((20, 30, True), (20, 31, False))
            assert (session.working.id, session.working.clicks, area(session, 1)) == (1, 2, 25)
            assert session.accept() == 1
            assert (session.working, session.clicks, session.sequence) == (None, (), 4)
            assert session.objects[1].clicks == 2

    def test_undo_and_redo_of_every_kind_of_change(self, service: Service):
        with service.open() as session:
            steps: list[Callable[[], Any]] = [
                lambda: session.click(20, 20),
                lambda: session.click(21, 20),
                session.accept,
                lambda: session.click_many([(5, 5), (10, 10), (SIZE, 0)]),
                session.propose,
                lambda: session.select(1),
                lambda: session.click(22, 20),
                session.accept,
                lambda: session.select(4),
                lambda: session.delete(4),
                lambda: session.delete(2),
                lambda: session.click(40, 40),
                lambda: session.delete(5),
            ]
            states = [self.state_of(session, service)]
            for step in steps:
                step()
                states.append(self.state_of(session, service))
            for expected in states[-2::-1]:
                session.undo()
                assert self.state_of(session, service) == expected
            with pytest.raises(errors.Precondition):
                session.undo()
            for expected in states[1:]:
                session.redo()
                assert self.state_of(session, service) == expected

    @staticmethod
    def state_of(session: Any, service: Service) -> Any:
        """What the client knows, after comparing it with what the service says."""
        seen = (session.objects, session.working, session.clicks)
        with service.client.resume(session.id) as fresh:
            assert (fresh.objects, fresh.working, fresh.clicks) == seen
        return seen

    def test_many_clicks_and_proposals(self, service: Service):
        with service.open() as session:
            first, refused = session.click_many(iter([(5, 5), (SIZE + 1, 5)]))
            assert (first.id, first.mask.area, first.refused) == (1, 9, "")
            assert (refused.id, refused.mask, refused.refused) == (0, None, "outside")
            (proposed,) = session.propose()
            assert (proposed.id, proposed.clicks) == (2, 0)
            assert list(session.objects) == [1, 2]

    def test_close_draws_the_map(self, service: Service):
        session = service.open(window=(8, 8, 48, 40))
        session.click_many([(12, 12), (8, 30), (63, 63)])
        result = session.close()
        assert (result.clicks, result.nuclei, result.seconds, session.closed) == (7, 3, 1.5, True)
        labels = np.asarray(result.instances)
        assert labels.shape == (40, 48)
        assert labels.dtype == np.int32
        assert (labels[4, 4], labels[22, 0], labels.max(), result.instances.nuclei) == (1, 2, 2, 2)
        assert session.close().clicks == 7

    def test_an_object_in_work_is_not_closed_over(self, service: Service):
        with service.open() as session:
            session.click(5, 5)
            with pytest.raises(errors.Precondition, match="in work"):
                session.close()
            session.accept()
            assert session.close().nuclei == 1

    def test_bad_arguments_are_refused_before_anything_is_sent(self, service: Service):
        with service.open() as session:
            for x, y in ((-1, 5), (5, 2**32), (1.5, 5), ("a", 5)):
                with pytest.raises(errors.InvalidInput):
                    session.click(x, y)
            with pytest.raises(errors.InvalidInput):
                session.select(-1)
            assert not service.servicer.seen
            assert session.click(np.int64(5), np.uint8(6)).object_id == 1
        for window in ((0, 0, 0, 5), (-1, 0, 5, 5)):
            with pytest.raises(errors.InvalidInput, match="window"):
                service.open(window=window)


class TestStream:
    def test_one_stream_serves_a_session_until_it_breaks(self, service: Service):
        with service.open() as session:
            for x in range(3):
                session.click(x, 5)
            with pytest.raises(errors.InvalidInput):
                session.delete(1) or session.click(5, 5, positive=False)
            assert service.servicer.streams == int(service.surface.endswith("stream"))
            service.servicer.script = [LOSE]
            session.click(9, 9)
            assert service.servicer.streams == 2 * int(service.surface.endswith("stream"))

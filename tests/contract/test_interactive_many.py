"""ClickMany and Propose, and what a single click tells on request."""

from __future__ import annotations

import numpy as np
import pytest
from tests.contract.interactive_bench import SIZE, click, click_request, pixels

from nucleate import errors
from nucleate.pathology.images.codec import decode_image, decode_instances
from nucleate.pathology.segmentation import classical
from nucleate.runtime.channels import call
from nucleate.v1 import common_pb2 as common
from nucleate.v1 import interactive_pb2 as pb


def click_many(bench, name: str, sequence: int, clicks: list[pb.PlacedClick], replica: int = 0) -> pb.ClickManyResponse:
    return call(
        bench.stubs[replica].ClickMany, pb.ClickManyRequest(session_id=name, sequence=sequence, clicks=clicks), timeout=120
    )


def propose(bench, name: str, sequence: int, **source: object) -> pb.ProposeResponse:
    return call(bench.stubs[0].Propose, pb.ProposeRequest(session_id=name, sequence=sequence, **source))


class TestClickMany:
    def test_each_click_becomes_a_finished_object_or_says_why_not(self, bench):
        block = np.zeros((SIZE, SIZE), np.int32)
        block[60:80, 60:80] = 1
        name = bench.open(proposals=bench.proposals(block)).session_id
        clicks = [click(30, 30), click(70, 70), click(2, 2), click(36, 30), click(30, 30), click(40, 90, False), click(90, 30)]
        answer = click_many(bench, name, 1, clicks)
        assert answer.sequence == 2
        assert [bool(found.object_id) for found in answer.objects] == [True, False, False, True, False, False, True]
        reasons = [found.refused for found in answer.objects]
        assert "lies on object 1" in reasons[1]
        assert "outside the window" in reasons[2]
        assert "pixel of an earlier click" in reasons[4]
        assert "is negative" in reasons[5]
        taken = np.zeros((SIZE, SIZE), np.int32)
        taken[60:80, 60:80] = 1
        for placed, found in zip(clicks, answer.objects, strict=True):
            if found.object_id:
                seen_HW = pixels(found.mask)
                assert seen_HW[placed.y, placed.x]
                assert 0 <= found.confidence <= 1
                assert not taken[seen_HW].any()
                taken[seen_HW] = found.object_id
        assert answer.milliseconds > 0
        session = bench.session(name, 1)
        assert [(found.object_id, found.clicks) for found in session.objects] == [(1, 0), (2, 1), (3, 1), (4, 1)]
        assert session.object_id == 0
        closed = call(bench.stubs[0].CloseSession, pb.CloseSessionRequest(session_id=name))
        assert (closed.clicks, closed.nuclei) == (3, 4)
        labels = decode_instances(bench.blobs.get(closed.result.instances), "result")
        assert np.array_equal(labels > 0, taken[16:112, 16:112] > 0)

    def test_more_than_one_pass_of_the_network_and_a_repeat(self, bench):
        name = bench.open(refinement=pb.Refinement(method=pb.REFINEMENT_METHOD_NONE)).session_id
        clicks = [click(18 + 12 * (n % 8), 18 + 15 * (n // 8)) for n in range(48)]
        answer = click_many(bench, name, 1, clicks)
        assert len(answer.objects) == 48
        assert click_many(bench, name, 1, clicks, replica=1) == answer
        with pytest.raises(errors.SessionConflict):
            click_many(bench, name, 1, clicks[:-1])

    def test_it_is_refused_while_an_object_is_in_work(self, bench):
        name = bench.open().session_id
        call(bench.stubs[0].Click, click_request(name, 1, 40, 40))
        with pytest.raises(errors.Precondition, match="is in work"):
            click_many(bench, name, 2, [click(80, 80)])
        with pytest.raises(errors.Precondition, match="is in work"):
            propose(bench, name, 2, classical=pb.ClassicalProposals())

    @pytest.mark.parametrize("count", [0, 1025])
    def test_its_size_is_limited(self, bench, count):
        with pytest.raises(errors.InvalidInput, match="give 1 to 1024"):
            click_many(bench, bench.open().session_id, 1, [click(40, 40)] * count)


class TestPropose:
    def test_a_map_adds_what_is_not_there_yet(self, bench):
        _, instances = bench.image()
        name = bench.open().session_id
        first = click_many(bench, name, 1, [click(60, 60)]).objects[0]
        added = propose(bench, name, 2, instances=bench.proposals(instances))
        assert added.sequence == 3
        session = bench.session(name, 1)
        assert session.objects[0].mask == first.mask
        assert list(session.objects[1:]) == list(added.objects)
        assert {found.clicks for found in added.objects} == {0}
        union = np.zeros((SIZE, SIZE), int)
        for found in session.objects:
            union += pixels(found.mask)
        assert union.max() == 1
        again = propose(bench, name, 3, instances=bench.proposals(instances))
        assert not again.objects

    def test_the_classical_segmentation_of_the_window(self, bench):
        image, _ = bench.image()
        name = bench.open().session_id
        added = propose(bench, name, 1, classical=pb.ClassicalProposals())
        expected = classical.segment(decode_image(bench.blobs.get(image.data), "image")[16:112, 16:112])
        assert len(added.objects) == expected.max() > 0
        found = np.zeros((SIZE, SIZE), bool)
        for each in added.objects:
            found |= pixels(each.mask)
        assert np.array_equal(found[16:112, 16:112], expected > 0)
        assert propose(bench, name, 1, classical=pb.ClassicalProposals()) == added

    def test_what_is_no_map_of_the_image_is_refused(self, bench):
        name = bench.open().session_id
        with pytest.raises(errors.InvalidInput, match="names no proposals"):
            propose(bench, name, 1)
        with pytest.raises(errors.SizeMismatch, match="its proposals have 64 x 64"):
            propose(bench, name, 1, instances=bench.proposals(np.ones((64, 64), np.int32)))
        with pytest.raises(errors.InvalidMask):
            propose(bench, name, 1, instances=bench.image()[0].data)
        with pytest.raises(errors.InvalidInput, match="blob uri"):
            propose(bench, name, 1, instances=common.Blob(uri="x"))
        assert bench.session(name).sequence == 1


class TestAnswer:
    def test_probability_on_request_and_where_the_time_went(self, bench):
        name = bench.open(window=common.Window(x=0, y=0, width=30, height=25)).session_id
        answer = call(bench.stubs[0].Click, click_request(name, 1, 4, 5, probability=True))
        box = answer.probability.box
        assert (box.x, box.y) == (0, 0)
        assert (box.width, box.height) == (30, 25)  # less than the frame
        seen_HW = np.frombuffer(answer.probability.values, np.uint8).reshape(box.height, box.width)
        mask_HW = pixels(answer.mask)[:25, :30]
        assert answer.confidence == pytest.approx(seen_HW[mask_HW].mean() / 255, abs=0.01)
        again = call(bench.stubs[1].Click, click_request(name, 1, 4, 5, probability=True))
        assert again.probability == answer.probability
        second = call(bench.stubs[0].Click, click_request(name, 2, 22, 20, positive=False))
        assert not second.HasField("probability")
        assert list(second.honoured) == [True, True]
        assert len(second.honoured_by_network) == 2
        spent = second.spent
        assert min(spent.encoding, spent.refining, spent.finishing, spent.storing) > 0
        parts = spent.waiting + spent.encoding + spent.refining + spent.finishing + spent.storing
        assert parts <= second.milliseconds + 0.01

    def test_the_same_click_again_is_answered_without_a_change(self, bench):
        name = bench.open().session_id
        first = call(bench.stubs[0].Click, click_request(name, 1, 40, 40))
        again = call(bench.stubs[1].Click, click_request(name, 2, 40, 40))
        assert (again.sequence, again.mask) == (2, first.mask)
        with pytest.raises(errors.InvalidInput, match=r"contradicts the positive click .* undo it first"):
            call(bench.stubs[0].Click, click_request(name, 2, 40, 40, positive=False))
        assert bench.session(name).sequence == 2
